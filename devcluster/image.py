"""The session image: built from ``definitions/`` by an ordinary user of the cluster, and kept."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from devcluster import layout, store
from devcluster.keys import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.head import Inside
    from devcluster.machine import Machine
    from devcluster.progress import Progress

_BUILDER_ID = 1500
_DEFINITIONS = "definitions"
_STANDIN = "tests/sunshine_standin"
_CACHE_INSIDE = "/var/cache/moonlight-dev/images"
#: What the image is made of, below definitions/: another image's definition changes nothing here.
_INGREDIENTS = ("build", "check-definition", "inputs.bash", f"sunshine_{layout.IMAGE_ID}.def")
_NAMES = (f"sunshine_{layout.IMAGE_ID}.sif", f"sunshine_{layout.IMAGE_ID}.sif.json")


def image_key(host: Machine, sunshine_deb: Path | None) -> str:
    """The name of the image that this checkout would build."""
    return key_of(
        host.mirror,
        [layout.CHECKOUT / _DEFINITIONS / name for name in _INGREDIENTS],
        sunshine_deb or layout.CHECKOUT / _STANDIN,
    )


def provide(
    paths: layout.Paths,
    host: Machine,
    inside: Inside,
    progress: Progress,
    sunshine_deb: Path | None,
) -> None:
    """Have the image at /opt/apptainers, building it only when its ingredients have changed."""
    key = image_key(host, sunshine_deb)
    folder = paths.cache / "images"
    if store.kept(folder, key) is None:
        with progress.step("image") as step:

            def build(part: Path) -> None:
                _build(part, host, inside, step.log, sunshine_deb)

            store.make(folder, key, build)
    store.prune(folder, key)
    _publish(folder / key, paths.state / "apptainers")


def _build(part: Path, host: Machine, inside: Inside, log: Path, sunshine_deb: Path | None) -> None:
    os.chown(part, _BUILDER_ID, _BUILDER_ID)
    # Copies: bash reads a script while it runs it, and somebody may edit it in these minutes.
    for folder in (_DEFINITIONS, _STANDIN):
        shutil.copytree(layout.CHECKOUT / folder, part / "sources" / folder)
    if sunshine_deb:
        # The cluster sees only the checkout and its own folders.
        shutil.copyfile(sunshine_deb, part / "sunshine.deb")
    script = (
        "out=$1 mirror=$2 image=$3 deb=$out/sunshine.deb\n"
        'if [ ! -e "$deb" ]; then\n'
        '    "$out"/sources/tests/sunshine_standin/build-deb "$out"\n'
        '    deb=$(echo "$out"/*.deb)\n'
        "fi\n"
        'exec nice -n 5 "$out"/sources/definitions/build "$image" --output "$out" --tmpdir "$out"'
        ' --verbose --sunshine-deb "$deb" --debian-mirror "$mirror"'
    )
    arguments = [f"{_CACHE_INSIDE}/{part.name}", host.mirror, layout.IMAGE_ID]
    inside.work(
        [
            *("setpriv", "--reuid", "builder", "--regid", "builder", "--init-groups", "--"),
            *("bash", "-ec", script, "build-image", *arguments),
        ],
        log,
        what="Building the image",
        hint="The end of the log says why; ./dev up builds it again.",
        HOME="/var/lib/builder",
        USER="builder",
    )
    for path in part.iterdir():
        if path.name in _NAMES:
            os.chown(path, 0, 0)
            path.chmod(0o644)
        else:
            store.remove(path)


def _publish(kept: Path, folder: Path) -> None:
    """Link the kept image to where the cluster looks for it; never is there half a file."""
    for name in _NAMES:
        target = folder / name
        if target.exists() and target.samefile(kept / name):
            continue
        part = folder / f"{store.PART}{name}"
        part.unlink(missing_ok=True)
        os.link(kept / name, part)
        part.rename(target)
