"""A node as a session finds it, by a short job of an ordinary user."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import stat
import time
from importlib import resources
from typing import TYPE_CHECKING

from moonlight_core import ports as arithmetic
from moonlight_core.doctor.finding import Finding, green, red, yellow
from moonlight_core.doctor.ports import finding as ports_finding
from moonlight_core.doctor.ports import unreserved_ports
from moonlight_core.errors import SlurmError, UserNotAllowed
from moonlight_core.gateway import JobSpec
from moonlight_core.states import stage_of
from moonlight_core.users import find_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from moonlight_core.doctor.site import Site
    from moonlight_core.users import User

_WAIT_S = 90.0
_SEE_FILE_S = 10.0
_REACH_S = 3.0
_SKEW_S = 2.0
_MARK = "moonlight-doctor"

# Key of the script: what it is called, what a failure means, how it is mended.
_TRIED = {
    "sandboxes": ("{paths.sandboxes}", "Cannot be written", "Mount it there, mode 1777."),
    "sessions": ("{paths.sessions}", "Cannot be written", "Mount it there, mode 1777."),
    "home": (
        "home directory",
        "The user's home is not there, so that desktops get an empty one and clients pair anew",
        "Mount the homes on the node.",
    ),
    "controller": (
        "slurmctld from there",
        "Jobs cannot report",
        "Slurm's commands must work on the node: slurm.conf, munge, and the way to slurmctld.",
    ),
    "userns": (
        "user namespaces",
        "Ordinary users cannot make them, which Apptainer needs without set-uid",
        "sysctl user.max_user_namespaces=15000 (docs/operating.md: AppArmor); or apptainer-suid.",
    ),
    "fuse": (
        "FUSE",
        "Images cannot be mounted by users, and are unpacked at each start instead",
        "modprobe fuse; /dev/fuse has mode 666.",
    ),
    "image": ("image", "Cannot be read there", "Put the image on a file system the nodes share."),
    "apptainer": ("Apptainer", "Does not run the image", "Try it there by hand, as a user."),
    "x_server": (
        "X server",
        "Does not start in the image",
        "`apptainer test` of the image tells more.",
    ),
    "dbus": ("D-Bus", "No session bus starts in the image", "The image needs dbus-daemon."),
}
_ONLY_YELLOW = ("home", "fuse", "userns")


def job(site: Site) -> Iterator[Finding]:
    """Everything a session needs there, and that the head reaches it."""
    try:
        user = _user(site)
    except UserNotAllowed as exc:
        yield yellow(
            "nodes",
            f"They were not tried: {exc}",
            "Name an ordinary user who may have sessions: `moonlight doctor --user NAME` runs a "
            "job of some seconds as her.",
        )
        return
    for node in site.nodes or [""]:
        yield from _try(site, user, node)


def _user(site: Site) -> User:
    name = site.user
    if name is None:
        if os.geteuid() == 0:
            raise UserNotAllowed("no job is run in somebody's name unasked.")
        name = getpass.getuser()
    return find_user(name, first_uid=site.settings.sessions.first_uid)


def _try(site: Site, user: User, node: str) -> Iterator[Finding]:
    subject = f"node {node}" if node else "a node"
    spec = _spec(site, user, node)
    before = time.time()
    try:
        job_id = site.gateway.submit(spec)
    except SlurmError as exc:
        yield red(subject, str(exc), "The checks before this one tell what is missing.")
        return
    state = _wait(site, job_id)
    after = time.time()
    if not stage_of(state).ended:
        site.gateway.cancel(job_id)
        yield yellow(
            subject,
            f"The job {job_id} was {state} after {_WAIT_S:g} s and was cancelled.",
            "Try when a node is free, or name one: --node NODE.",
        )
        return
    path = site.settings.paths.logs / f"{spec.name}.log"
    told = _told(path, user.uid)
    if not told:
        yield red(
            str(site.settings.paths.logs),
            f"The job {job_id} ended as {state}, and what it wrote there cannot be seen here.",
            "[paths] logs must be the same directory on the head and on the nodes; slurmd's log "
            "tells if it could not open the file.",
        )
        return
    path.unlink(missing_ok=True)
    name = told.get("node", node)
    yield green(f"{name}: {site.settings.paths.logs}", "What is written there is seen here.")
    yield from _judged(site, name, told)
    yield _clock(name, float(told["time"]), before, after)
    yield _reach(site, name)


def _spec(site: Site, user: User, node: str) -> JobSpec:
    settings = site.settings
    name = f"moonlight-doctor-{secrets.token_hex(4)}"
    slots = settings.slots
    return JobSpec(
        name=name,
        comment="a check of Moonlight on Slurm, over in some seconds",
        script=resources.files("moonlight_core.doctor").joinpath("node_probe.bash").read_text(),
        environment={
            "PATH": settings.slurm.job_path,
            "HOME": user.home,
            "USER": user.name,
            "LANG": "C.UTF-8",
            "SLURM_CONF": site.slurm_conf,
            "SLURM_UMASK": "0077",
            "MOONLIGHT_SANDBOXES": str(settings.paths.sandboxes),
            "MOONLIGHT_SESSIONS": str(settings.paths.sessions),
            "MOONLIGHT_SIF": str(next(i for i in settings.images.values() if i.default).sif),
            "MOONLIGHT_FIRST_DISPLAY": str(slots.first_display),
            "MOONLIGHT_LAST_DISPLAY": str(slots.last_display),
        },
        user_id=user.uid,
        group_id=user.gid,
        working_directory="/",
        output=str(settings.paths.logs / f"{name}.log"),
        partition=settings.slurm.partition,
        qos=settings.slurm.qos,
        account=settings.slurm.account,
        cpus=1,
        memory_mb=1024,
        gres={},
        time_limit_min=3,
        node=node,
    )


def _wait(site: Site, job_id: int) -> str:
    deadline = time.monotonic() + _WAIT_S
    while True:
        found = site.gateway.jobs([job_id]).get(job_id)
        state = found.state if found else "UNKNOWN"
        if stage_of(state).ended or time.monotonic() > deadline:
            return state
        time.sleep(0.3)


def _told(path: Path, uid: int) -> dict[str, str]:
    """What the job wrote; a shared file system may show it late."""
    deadline = time.monotonic() + _SEE_FILE_S
    while True:
        told = _read(path, uid)
        if "end" in told or time.monotonic() > deadline:
            return told
        time.sleep(0.3)


def _read(path: Path, uid: int) -> dict[str, str]:
    try:
        # Users may write beside it: neither a link nor somebody else's file is followed.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(path, flags), encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != uid or not stat.S_ISREG(status.st_mode):
                return {}
            lines = [line.rstrip("\n").split("\t") for line in file]
    except (OSError, UnicodeDecodeError):
        return {}
    return {line[1]: line[2].strip() for line in lines if line[0] == _MARK and len(line) == 3}  # noqa: PLR2004


def _judged(site: Site, node: str, told: Mapping[str, str]) -> Iterator[Finding]:
    settings = site.settings
    if told.get("missing") != "none":
        yield red(
            f"{node}: programs",
            f"Missing on PATH ({settings.slurm.job_path}): {told.get('missing')}.",
            "Install them there, or add their folder to [slurm] job_path.",
        )
    else:
        yield green(f"{node}: programs", "All are there.")
    for key, (title, failure, mend) in _TRIED.items():
        subject = f"{node}: {title.format(paths=settings.paths)}"
        answer = told.get(key, "failed: the check did not get there")
        if answer == "ok":
            yield green(subject, "It works.")
        else:
            say = yellow if key in _ONLY_YELLOW else red
            yield say(subject, f"{failure} ({answer.removeprefix('failed: ')}).", mend)
    yield ports_finding(
        f"{node}: reserved ports",
        settings,
        unreserved_ports(settings, reserved=told["reserved"], handed_out=told["handed_out"]),
    )
    yield _foreign(site, node, told.get("listening", ""))


def _foreign(site: Site, node: str, listening: str) -> Finding:
    """Ports of free slots that somebody listens on."""
    settings = site.settings
    slots = settings.slots
    displays = slots.last_display - slots.first_display + 1
    busy = {int(port) for port in listening.split(",") if port}
    taken = site.leases(node)
    blocked = sorted(
        port
        for base in arithmetic.pack(slots.first_port, slots.last_port, displays)
        if not any(arithmetic.clash(base, lease) for lease in taken)
        for port in arithmetic.tcp_ports(base)
        if port in busy
    )
    subject = f"{node}: free ports"
    if blocked:
        return yellow(
            subject,
            f"Foreign programs listen on {', '.join(map(str, blocked))}: those slots stay empty.",
            "`ss -ltnp` there tells who; move it, or move [slots] first_port and last_port.",
        )
    return green(subject, "Nobody listens on the ports of free slots.")


def _clock(node: str, theirs: float, before: float, after: float) -> Finding:
    skew = max(before - theirs, theirs - after, 0.0)
    if skew > _SKEW_S:
        return yellow(
            f"{node}: clock",
            f"It is {skew:.1f} s off this machine's; munge refuses more than 300 s.",
            "Let chrony or ntpd keep both.",
        )
    return green(f"{node}: clock", "It is this machine's.")


def _reach(site: Site, node: str) -> Finding:
    """The head speaks to a session's Sunshine when a client is paired."""
    host = site.settings.connect.own_host_of(node)
    port = site.settings.slots.first_port + 1
    subject = f"{node}: the way there"
    try:
        socket.create_connection((host, port), timeout=_REACH_S).close()
    except ConnectionRefusedError:
        pass  # reached; nobody listens there now
    except OSError as exc:
        return red(
            subject,
            f"{host} cannot be reached from here on TCP {port} ({exc}): nobody can be paired.",
            "[connect] hosts gives a node another name; a firewall must let the head through "
            "(docs/operating.md lists the ports).",
        )
    return green(subject, f"{host} can be reached from here.")
