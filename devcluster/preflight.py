"""Everything that can be known to fail before anything is changed: one clear sentence each."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import layout
from devcluster.errors import DevError
from devcluster.process import output_of, succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator

_GIB = 1 << 30
#: Root file system, image, build folders and some sessions; the second number when all of it is
#: already kept.
_SPACE_FIRST = 9 * _GIB
_SPACE_LATER = 2 * _GIB
_OLDEST_DEBIAN = 12

#: Ports of the cluster, with the addresses on which a listener of somebody else would be in the
#: way.
PORTS = {
    8004: ("127.0.0.1", "the service"),
    6817: (layout.BRIDGE_ADDRESS, "slurmctld"),
    6819: (layout.BRIDGE_ADDRESS, "slurmdbd"),
    6379: (layout.BRIDGE_ADDRESS, "Redis"),
}
_LISTEN = "0A"


def check_person_and_system() -> None:
    """Root on Debian 12 or newer, with what Debian always has."""
    if os.geteuid() != 0:
        raise DevError(
            "This needs root: it makes namespaces, mounts and network interfaces.",
            "Run it again as root, for instance with sudo.",
        )
    release = Path("/etc/os-release")
    refusal = distribution_refusal(release.read_text() if release.is_file() else "")
    if refusal:
        raise DevError(refusal, "Any Debian 12 or newer will do, also in a virtual machine.")
    for tool in ("apt-get", "unshare", "nsenter", "setpriv", "mount", "pivot_root"):
        if not shutil.which(tool):
            raise DevError(
                f"The program {tool} is missing.", "apt-get install util-linux mount apt"
            )


def distribution_refusal(os_release: str) -> str:
    """Why this is not a Debian that will do; empty when it is."""
    fields = {}
    for line in os_release.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name] = value.strip().strip("\"'")
    called = fields.get("PRETTY_NAME") or fields.get("ID") or "unknown"
    if fields.get("ID") != "debian":
        return f"This needs Debian 12 or newer; this machine runs {called}."
    # testing and unstable have no VERSION_ID and are newer than every number.
    version = fields.get("VERSION_ID", "")
    if version and (not version.isdigit() or int(version) < _OLDEST_DEBIAN):
        return f"This needs Debian 12 or newer; this machine runs {called}."
    return ""


def check_kernel() -> None:
    """Namespaces, overlay mounts and FUSE work; nothing is left of the attempts."""
    if not succeeds(
        [
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--",
            "true",
        ]
    ):
        raise DevError(
            "This machine cannot make mount, network and process namespaces.",
            "A container must be started as privileged; a virtual machine always works.",
        )
    overlay = (
        "mount -t tmpfs probe /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && mount -t overlay probe"
        " -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/m && mknod /mnt/fuse c 10 229"
    )
    if not succeeds(["unshare", "--mount", "--", "sh", "-c", overlay]):
        raise DevError(
            "This machine cannot mount an overlay file system or make device nodes.",
            "It needs the kernel module overlay, and root with all capabilities.",
        )
    network = "ip link add probe type bridge && ip link add probe0 type veth peer name probe1"
    if shutil.which("ip") and not succeeds(["unshare", "--net", "--", "sh", "-c", network]):
        raise DevError(
            "The kernel cannot make network bridges or virtual cables.",
            "Load the modules: modprobe bridge; modprobe veth",
        )
    if not _has_filesystem("fuse"):
        raise DevError(
            "The kernel has no FUSE, which Apptainer mounts its images by.",
            "Load the module: modprobe fuse",
        )
    ordinary = "setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user --map-root-user"
    if not succeeds([*ordinary.split(), "true"]):
        raise DevError(
            "Ordinary users cannot make user namespaces here, which Apptainer needs.",
            "Allow them: sysctl user.max_user_namespaces=65536 kernel.unprivileged_userns_clone=1",
        )


def check_space(paths: layout.Paths, *, all_kept: bool) -> None:
    """Enough room below MOONLIGHT_DEV_DIR."""
    folder = paths.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    need = _SPACE_LATER if all_kept else _SPACE_FIRST
    if free < need:
        raise DevError(
            f"{folder} has {free / _GIB:.1f} GiB free; the cluster needs {need / _GIB:.0f}.",
            "Free some, or put it elsewhere: MOONLIGHT_DEV_DIR=/path ./dev up",
        )


def check_network() -> None:
    """No port and no address of the cluster is in use by anybody else."""
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    listeners = [
        listener
        for table in tables
        if table.exists()
        for listener in parse_listeners(table.read_text())
    ]
    for port, (address, what) in PORTS.items():
        if in_the_way(listeners, address, port):
            raise DevError(
                f"Port {port} is in use, and {what} needs it on {address}." + _owner_sentence(port),
                f"Stop what listens there; `ss -lntp sport = :{port}` shows it.",
            )
    for network, device in parse_routes(Path("/proc/net/route").read_text()):
        if (
            device != layout.BRIDGE
            and network.prefixlen
            and network.overlaps(ipaddress.IPv4Network(layout.BRIDGE_NETWORK))
        ):
            raise DevError(
                f"The network {layout.BRIDGE_NETWORK} is in use: {network} is behind {device}.",
                "The cluster's own bridge needs these addresses; take that interface down first.",
            )


def parse_listeners(table: str) -> Iterator[tuple[str, int]]:
    """Addresses and ports that listen, from /proc/net/tcp or tcp6; a wildcard is "*"."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _LISTEN:  # noqa: PLR2004  # number, local, remote, state
            continue
        raw, port = fields[1].split(":")
        words = [bytes.fromhex(raw[i : i + 8])[::-1] for i in range(0, len(raw), 8)]
        address = ipaddress.ip_address(b"".join(words))
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        yield ("*" if address.is_unspecified else str(address)), int(port, 16)


def in_the_way(listeners: list[tuple[str, int]], address: str, port: int) -> bool:
    """Whether one of ``listeners`` keeps us from ``address:port``."""
    return any(used == port and where in {"*", address} for where, used in listeners)


def parse_routes(table: str) -> Iterator[tuple[ipaddress.IPv4Network, str]]:
    """Networks and their interfaces from /proc/net/route."""
    for line in table.splitlines()[1:]:
        device, destination, *rest = line.split()
        network, mask = (
            ipaddress.IPv4Address(bytes.fromhex(text)[::-1]) for text in (destination, rest[5])
        )
        yield ipaddress.IPv4Network(f"{network}/{mask}"), device


def _owner_sentence(port: int) -> str:
    text = output_of(["ss", "-Hlntp", f"sport = :{port}"])
    owner = re.search(r'users:\(\("(?P<name>[^"]+)",pid=(?P<pid>\d+)', text)
    return f" It is held by {owner['name']} (process {owner['pid']})." if owner else ""


def _has_filesystem(name: str) -> bool:
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return name in known or succeeds(["modprobe", "--dry-run", "--quiet", name])
