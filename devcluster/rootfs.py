"""The kept root file system, and the packages that the host needs to make it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from devcluster import layout, machine, store
from devcluster.errors import StepError
from devcluster.keys import key_of
from devcluster.process import ISOLATED, Runner, output_of

#: Programs the host must have, and the packages they come in. curl is for the user, who is shown
#: curl lines.
HOST_PACKAGES = {
    "debootstrap": "debootstrap",
    "wget": "wget",
    "gpgv": "gpgv",
    "ip": "iproute2",
    "curl": "curl",
}
_APT_HINT = "The end of the log says why; `apt-get update` and `dpkg --configure -a` may mend apt."


def missing_packages() -> list[str]:
    """The packages of HOST_PACKAGES whose programs are missing."""
    return [package for program, package in HOST_PACKAGES.items() if not shutil.which(program)]


def install_packages(packages: list[str], runner: Runner, log: Path) -> None:
    """Install ``packages`` on the host.

    `apt-get update` runs only when apt does not know them, or what it knows is no longer there.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "-y"]

    def install() -> None:
        runner.run(
            [*apt, "install", "--no-install-recommends", *packages],
            log,
            what=f"Installing {', '.join(packages)} on this machine",
            hint=_APT_HINT,
            env=env,
            protect=True,
        )

    if all(_is_known(package) for package in packages):
        with suppress(StepError):
            install()
            return
    runner.run([*apt, "update"], log, what="apt-get update", hint=_APT_HINT, env=env)
    install()


def _is_known(package: str) -> bool:
    policy = output_of(["env", "LC_ALL=C", "apt-cache", "policy", package])
    return bool(policy) and "Candidate: (none)" not in policy


def root_key(host: machine.Machine) -> str:
    """The name of the root file system that this machine and this checkout would make."""
    return key_of(
        layout.SUITE,
        host.mirror,
        host.archive.signed_by,
        str(host.archive.trusted),
        machine.host_architecture(),
        layout.CHECKOUT / "devcluster/inside/make-root",
    )


def make_root(paths: layout.Paths, host: machine.Machine, runner: Runner, log: Path) -> Path:
    """Make the root file system: debootstrap on the host, then packages and accounts inside.

    Everything runs in namespaces of its own: no mount of it is ever seen on the host.
    """
    archives = paths.cache / "archives"
    hint = (
        "The end of the log says why. A mirror that cannot be reached or lacks the suite "
        f"{layout.SUITE} is the usual reason: --debian-mirror URL takes another."
    )

    def build(root: Path) -> None:
        options = ["--variant=minbase", f"--cache-dir={archives}"]
        if host.archive.signed_by:
            options.append(f"--keyring={host.archive.signed_by}")
        if host.archive.trusted:
            options.append("--no-check-gpg")
        # The script is named, because the debootstrap of an older Debian may not know the suite.
        runner.run(
            [
                *(*ISOLATED, "debootstrap", *options),
                *(layout.SUITE, str(root), host.mirror, str(layout.BOOTSTRAP_SCRIPT)),
            ],
            log,
            what=f"debootstrap of {layout.SUITE}",
            hint=hint,
            env=machine.wget_environment(host),
        )
        host.write_apt(root)
        store.write(root / "etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        options = ["trusted=yes"] if host.archive.trusted else []
        option = f"[{' '.join(options)}]" if options else ""
        script = layout.CHECKOUT / "devcluster/inside/make-root"
        # Its downloads go to the kept archives; the bind is gone with the namespace.
        enter = (
            'mkdir -p "$1/var/cache/apt/archives" && mount --bind "$2" "$1/var/cache/apt/archives"'
            ' && exec chroot "$1" bash -c "$(<"$3")"'
        )
        runner.run(
            [*ISOLATED, "bash", "-c", enter, "make-root", str(root), str(archives), str(script)],
            log,
            what="Installing the cluster's packages",
            hint=hint,
            env={
                **host.environment(),
                "MIRROR": host.mirror,
                "SUITE": layout.SUITE,
                "SOURCE_OPTIONS": option,
            },
        )

    return store.make(paths.cache / "roots", root_key(host), build)
