"""Definitions that cross the line to VNC are refused, and the build says what it needs."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "definitions"
STANDIN = ROOT / "tests/sunshine_standin"
SHIPPED = sorted(DEFINITIONS.glob("sunshine_*.def"))
SCRATCH = "Bootstrap: debootstrap\nOSVersion: trixie\nMirrorURL: http://mirror.invalid/debian\n"
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Look at a definition with a text, and build arguments."""

    def _check(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "sunshine_test.def"
        path.write_text(text, encoding="utf-8")
        return subprocess.run(
            [DEFINITIONS / "check-definition", path, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return _check


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_what_we_ship_is_accepted(path: Path) -> None:
    """Our own definitions keep our own rules."""
    subprocess.run([DEFINITIONS / "check-definition", path], check=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bootstrap: localimage\nFrom: base.sif\n", "Bootstrap: localimage"),
        ("bootstrap:LocalImage\nFrom: base.sif\n", "Bootstrap: LocalImage"),
        ("Bootstrap: oci-archive\nFrom: base.tar\n", "Bootstrap: oci-archive"),
        ("Bootstrap: docker-daemon\nFrom: debian:trixie\n", "Bootstrap: docker-daemon"),
        ("Bootstrap: library\nFrom: debian\n", "Bootstrap: library"),
        ("Bootstrap: docker\nFrom: site/vnc_desktop:1\n", "image of the VNC service"),
        ("Bootstrap: docker\nFrom: /opt/apptainers/base\n", "local image"),
        (SCRATCH + "\nBootstrap: localimage\nFrom: x.sif\n", "Bootstrap: localimage"),
        (SCRATCH + "%post\n    true\nBootstrap: localimage\n", "Bootstrap: localimage"),
        (SCRATCH + "%files\n    /opt/vnc_desktop/etc /etc\n", "file of the VNC service"),
        (SCRATCH + "%files\n    /opt/base.sif /opt\n", "an image"),
        (SCRATCH + "%files\n    /opt/base.sqsh /opt\n", "an image"),
        (SCRATCH + "%setup\n    cp -a /opt/x ${APPTAINER_ROOTFS}\n", "outside the container"),
        (SCRATCH + "%post\n    unsquashfs /scratch/vnc_sandboxes/a\n", "of the VNC service"),
        (SCRATCH + "%post\n    cat vnc_desktop.sif\n", "of the VNC service"),
        ("%post\n    true\n", "what it starts from"),
    ],
)
def test_a_definition_that_crosses_the_line_is_refused(
    check: Check, text: str, reason: str
) -> None:
    """Local images and anything of the VNC service, wherever they are named."""
    answer = check(text)
    assert answer.returncode == 3
    assert reason in answer.stderr
    assert "line " in answer.stderr


@pytest.mark.parametrize(
    "text",
    [
        SCRATCH,
        "Bootstrap: docker\nFrom: debian:trixie-slim\n",
        SCRATCH + "%files\n    a.conf /etc\n%post\n    true\n",
        SCRATCH + "# never from vnc_desktop.sif\n",
        SCRATCH + "Stage: one\n%files from one\n    /etc/hosts /etc\n",
    ],
)
def test_other_definitions_are_accepted(check: Check, text: str) -> None:
    """From scratch or from a plain Debian, with files that are no images."""
    assert check(text).returncode == 0


def test_build_arguments_are_looked_at_with_their_values(check: Check) -> None:
    """A harmless default does not hide what is given on the command line."""
    text = SCRATCH + "%arguments\n    extra=a.deb\n%files\n    {{ extra }} /opt\n"
    assert check(text).returncode == 0
    assert check(text, "extra=/opt/vnc_desktop.sif").returncode == 3


@pytest.mark.parametrize("content", [b"hsqs" + bytes(92), bytes(32) + b"SIF_MAGIC\0" + bytes(64)])
def test_an_image_under_another_name_is_recognised(
    check: Check, tmp_path: Path, content: bytes
) -> None:
    """By its first bytes, also behind a link."""
    (tmp_path / "innocent").write_bytes(content)
    (tmp_path / "package.deb").symlink_to("innocent")
    answer = check(SCRATCH + "%files\n    package.deb /opt\n")
    assert answer.returncode == 3
    assert "is an image" in answer.stderr


def test_a_sandbox_is_recognised(check: Check, tmp_path: Path) -> None:
    """A folder that holds an unpacked image counts as an image."""
    (tmp_path / "tree/.singularity.d").mkdir(parents=True)
    assert check(SCRATCH + "%files\n    tree /opt\n").returncode == 3


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_definition_is_complete(path: Path) -> None:
    """It documents, labels and tests itself, pins what it is made of and runs nothing early."""
    text = path.read_text(encoding="utf-8")
    for section in ("%arguments", "%environment", "%help", "%labels", "%test"):
        assert f"\n{section}\n" in text
    assert re.search(r"\n    sunshine_sha256=[0-9a-f]{64}\n", text)
    assert re.search(r"\n    debian_release=\d+\n", text)
    # In a trap dash knows of no jobs: a test that failed would wait for its desktop for ever.
    assert "jobs -p" not in text
    environment = text.split("\n%environment\n")[1].split("\n%")[0]
    for line in environment.strip("\n").splitlines():
        assert re.fullmatch(r"    export [A-Z_]+=[\w.,:/\"${}-]*", line), line


def build(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run definitions/build."""
    environment = {"PATH": path or os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(
        [DEFINITIONS / "build", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say which image to build: "),
        (["nope", "--output", "x"], "there is no definition for 'nope'; there is: "),
        (["../xfce4", "--output", "x"], "there is no definition for"),
        (["xfce4"], "--output DIR"),
        (["xfce4", "--output"], "--output needs a value"),
        (["xfce4", "more", "--output", "x"], "one image at a time"),
        (["xfce4", "--output", "x", "--nope"], "there is no option --nope"),
        (["xfce4", "--output", "x", "--sunshine-sha256", "abc"], "64 lower-case hex digits"),
        (
            ["xfce4", "--output", "x", "--sunshine-deb", "a", "--sunshine-url", "b"],
            "not both",
        ),
        (
            ["xfce4", "--output", "x", "--debian-mirror", "http://me:secret@host.invalid/debian"],
            "user name or password",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], sentence: str) -> None:
    """Exit code 2, and what to do instead."""
    answer = build(*arguments)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stdout == ""


def test_help_and_list() -> None:
    """Both answer without building anything."""
    assert "Exit codes:" in build("--help").stdout
    assert build("--list").stdout.split() == [p.stem.removeprefix("sunshine_") for p in SHIPPED]


class Machine:
    """A machine on which building is pretended: programs of ours come first in the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.output = folder / "images"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.program("debootstrap", "exit 0")
        self.program("newuidmap", "exit 0")
        self.program("getsubids", "exit 0")
        self.program("curl", "exit 0")
        self.program("df", "printf 'Avail\\n99999\\n'")
        # The set of capabilities, for tests as root in a container.
        self.program(
            "cat", '[ "$*" = /proc/sys/kernel/cap_last_cap ] || exec /bin/cat "$@"; echo 0'
        )
        self.program("sed", 'case "$*" in *CapPrm*) echo 1 ;; *) exec /bin/sed "$@" ;; esac')
        self.program(
            "apt-get",
            "printf '%s\\n' 'http://mirror.invalid/debian bookworm' "
            "'http://mirror.invalid/sec bookworm-security'",
        )
        self.program("apt-config", "echo \"APT_CHECK='false'\"")
        self.apptainer()

    def program(self, name: str, body: str) -> None:
        """Put a shell script into the path."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def apptainer(self, *, build: str = "", test: str = "", version: str = "1.4.5") -> None:
        """Pretend Apptainer: it notes its arguments and writes the image it was asked for."""
        self.program(
            "apptainer",
            f'case $1 in\n--version) echo "apptainer version {version}" ;;\n'
            f'build) printf "%s\\n" "$@" >{self.folder}/arguments\n'
            'echo "==> installing the desktop"\n'
            f"{build}\n"
            'image="${@: -2:1}"; echo image >"$image" ;;\n'
            f"test) {test or 'true'} ;;\n"
            '--silent) printf "bash 5.2\\nxvfb 2:21\\n" ;;\nesac',
        )

    def build(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Build xfce4 here."""
        given = ["xfce4", "--output", self.output, "--tmpdir", self.temporary, *arguments]
        return build(*given, path=f"{self.bin}:{os.environ['PATH']}")

    def leftovers(self) -> list[str]:
        """Return what there is beside images, records and logs."""
        kept = sorted(p.name for p in self.temporary.iterdir())
        if self.output.is_dir():
            kept += sorted(p.name for p in self.output.iterdir() if ".new" in p.name)
        return kept


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that can build."""
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's package."""
    folder = tmp_path_factory.mktemp("package")
    answer = subprocess.run(
        [STANDIN / "build-deb", folder], capture_output=True, text=True, check=True
    )
    return Path(answer.stdout.strip())


@needs_dpkg
def test_a_build_leaves_an_image_and_a_record(machine: Machine, package: Path) -> None:
    """The mirror comes from apt's configuration; the record tells its kind, not its address."""
    answer = machine.build("--sunshine-deb", package)
    assert answer.returncode == 0, answer.stderr
    image = machine.output / "sunshine_xfce4.sif"
    assert answer.stdout.strip() == str(image)
    assert "installing the desktop" in answer.stderr
    given = (machine.folder / "arguments").read_text(encoding="utf-8").splitlines()
    assert "debian_mirror=http://mirror.invalid/debian" in given
    assert "security_mirror=http://mirror.invalid/sec" in given
    assert "apt_check_valid_until=false" in given
    assert ("--fakeroot" in given) == (os.geteuid() != 0)
    text = Path(f"{image}.json").read_text(encoding="utf-8")
    assert "mirror.invalid" not in text
    record = json.loads(text)
    definition = (DEFINITIONS / "sunshine_xfce4.def").read_bytes()
    assert record["definition_sha256"] == hashlib.sha256(definition).hexdigest()
    assert record["image_sha256"] == hashlib.sha256(b"image\n").hexdigest()
    assert record["sunshine_sha256"] == hashlib.sha256(package.read_bytes()).hexdigest()
    assert record["sunshine_version"].endswith("+standin")
    assert record["sunshine_source"] == "file"
    assert record["debian_mirror"] == "apt configuration"
    assert record["packages"] == {"bash": "5.2", "xvfb": "2:21"}
    assert stat.S_IMODE(image.stat().st_mode) & 0o444
    assert machine.leftovers() == []


@needs_dpkg
def test_a_failing_build_shows_its_log_and_keeps_the_old_image(
    machine: Machine, package: Path
) -> None:
    """Nothing half-made is left where the image belongs."""
    machine.output.mkdir()
    image = machine.output / "sunshine_xfce4.sif"
    image.write_text("old\n", encoding="utf-8")
    machine.apptainer(build="echo E: no such package; exit 255")
    answer = machine.build("--sunshine-deb", package)
    assert answer.returncode == 8
    assert "E: no such package" in answer.stderr
    log = re.search(r"the whole log is in (\S+)", answer.stderr)
    assert log is not None
    assert "no such package" in Path(log[1]).read_text(encoding="utf-8")
    assert image.read_text(encoding="utf-8") == "old\n"
    assert machine.leftovers() == []


@needs_dpkg
def test_an_image_that_fails_its_test_is_not_put_into_place(
    machine: Machine, package: Path
) -> None:
    """The test decides."""
    machine.apptainer(test="echo error: no fonts; exit 1")
    answer = machine.build("--sunshine-deb", package)
    assert answer.returncode == 9
    assert "error: no fonts" in answer.stderr
    assert not (machine.output / "sunshine_xfce4.sif").exists()
    assert machine.leftovers() == []


@needs_dpkg
def test_an_interrupt_leaves_nothing_behind(machine: Machine, package: Path) -> None:
    """Neither files nor processes."""
    machine.apptainer(build='kill -INT "$PPID"; sleep 20')
    answer = machine.build("--sunshine-deb", package)
    assert answer.returncode == 130
    assert "interrupted" in answer.stderr
    assert machine.leftovers() == []
    assert not list(machine.output.iterdir())


@needs_dpkg
def test_a_wrong_checksum_is_refused(machine: Machine, package: Path) -> None:
    """The package is looked at before anything is built."""
    answer = machine.build("--sunshine-deb", package, "--sunshine-sha256", "0" * 64)
    assert answer.returncode == 5
    assert "it should be " + "0" * 64 in answer.stderr
    assert machine.leftovers() == []


@needs_dpkg
def test_a_file_that_is_no_package_of_sunshine_is_refused(machine: Machine) -> None:
    """Any other file, and any other package."""
    other = machine.folder / "other.deb"
    other.write_bytes(b"no package")
    answer = machine.build("--sunshine-deb", other)
    assert answer.returncode == 5
    assert "is not a package of Sunshine" in answer.stderr
    assert machine.build("--sunshine-deb", machine.folder / "none.deb").returncode == 5


def test_another_release_needs_its_checksum(machine: Machine) -> None:
    """What is downloaded is always checked."""
    answer = machine.build("--sunshine-version", "2026.999.1")
    assert answer.returncode == 2
    assert "--sunshine-sha256" in answer.stderr


def test_a_release_that_cannot_be_had_names_the_way_out(machine: Machine) -> None:
    """Where there is no network, the package is given as a file."""
    machine.program("curl", 'case "$*" in *github*) echo no route >&2; exit 6 ;; esac')
    answer = machine.build()
    assert answer.returncode == 5
    assert "no route" in answer.stderr
    assert "--sunshine-deb FILE" in answer.stderr


@pytest.mark.parametrize(
    ("program", "body", "code", "sentence"),
    [
        ("curl", "echo refused >&2; exit 7", 6, "cannot reach the Debian mirror"),
        ("apt-get", "exit 0", 6, "found no Debian mirror"),
        ("df", "printf 'Avail\\n10\\n'", 7, "10 MB are free"),
        ("apptainer", "echo apptainer version 1.1.9", 4, "too old"),
    ],
)
def test_what_is_missing_is_named(
    machine: Machine, program: str, body: str, code: int, sentence: str
) -> None:
    """Before anything is built, with a code of its own."""
    machine.program(program, body)
    answer = machine.build("--sunshine-deb", "x.deb")
    assert answer.returncode == code
    assert sentence in answer.stderr
    assert machine.leftovers() == []


@needs_dpkg
def test_the_stand_in_package_is_the_same_each_time(tmp_path: Path, package: Path) -> None:
    """Its checksum depends on the sources alone, and it says what it is."""
    again = subprocess.run(
        [STANDIN / "build-deb", tmp_path], capture_output=True, text=True, check=True
    )
    assert Path(again.stdout.strip()).read_bytes() == package.read_bytes()
    fields = subprocess.run(
        ["dpkg-deb", "--field", package], capture_output=True, text=True, check=True
    ).stdout
    assert "Package: sunshine\n" in fields
    assert "+standin" in fields
    assert "STAND-IN" in fields
