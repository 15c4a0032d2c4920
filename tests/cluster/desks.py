"""Sessions for tests that break something: made as a site would that has configured it otherwise.

They are made with the library, on the cluster's configuration with changes, and looked after by the
service like all others.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from cluster_view import on_node
from on_cluster import LIVE, Api, Node, run, wait_for

from moonlight_core import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_CONF = Path("/etc/slurm/slurm.conf")


@attrs.frozen
class Desk:
    """One session of a user, over HTTP."""

    api: Api
    session_id: str

    @property
    def now(self) -> dict[str, Any]:
        """The session."""
        return self.api.get(self.session_id)

    @property
    def job_id(self) -> int:
        """Its Slurm job."""
        return int(self.now["job_id"])

    def ready(self, timeout_s: float = 90) -> dict[str, Any]:
        """The session, once its desktop is ready."""
        return self.api.wait(self.session_id, "running", timeout_s=timeout_s)

    def until(self, good: Callable[[dict[str, Any]], bool], timeout_s: float = 30) -> Any:
        """The session, once it is as wanted."""
        return wait_for(lambda: self.now, good, timeout_s)

    def ended(self, timeout_s: float = 60) -> dict[str, Any]:
        """The session, once it has ended."""
        return dict(self.until(lambda session: session["status"] not in LIVE, timeout_s))

    def end(self) -> None:
        """End it and wait for that."""
        self.api.delete(self.session_id)
        self.ended()


def desk(
    user: str,
    image_id: str = "bare",
    *,
    image: Mapping[str, Any] | None = None,
    script: Callable[[str], str] | None = None,
    **groups: Mapping[str, Any],
) -> Desk:
    """A new session on a changed configuration.

    Args:
        user: whose.
        image_id: an image of the catalogue.
        image: what is different in that image.
        script: changes the text of the batch script.
        groups: what is different in the groups of settings: ``slots={"wait_s": 5}``.
    """
    manager = SessionManager.from_config()
    settings = manager.settings
    changes = {"sessions": {"per_user": -1}} | groups
    manager.settings = attrs.evolve(
        settings,
        images={image_id: attrs.evolve(settings.images[image_id], **image or {})},
        **{name: attrs.evolve(getattr(settings, name), **new) for name, new in changes.items()},
    )
    if script is not None:
        manager._script = script(manager._script)
    return Desk(Api(user), manager.create(user, image_id).session_id)


def together(makers: Sequence[Callable[[], Desk]]) -> list[Desk]:
    """Make sessions at the same time and wait until all are ready."""
    made = [maker() for maker in makers]
    with concurrent.futures.ThreadPoolExecutor(len(made)) as pool:
        list(pool.map(Desk.ready, made))
    return made


def knob(name: str, value: str) -> Callable[[str], str]:
    """A change of the batch script that sets one of the stand-in's own switches."""
    return lambda script: script.replace(
        "\nmain() {", f"\nexport APPTAINERENV_STANDIN_{name}={value}\nmain() {{", 1
    )


def constant(name: str, value: int) -> Callable[[str], str]:
    """A change of the batch script that gives one of its constants another value."""

    def change(script: str) -> str:
        changed, count = re.subn(rf"(?m)^readonly {name}=\d+", f"readonly {name}={value}", script)
        assert count == 1, name
        return changed

    return change


@contextlib.contextmanager
def slurm_conf(*lines: str, without: str = "") -> Iterator[None]:
    """Slurm runs with these lines, and without those that begin with ``without``, for a while."""
    before = _CONF.read_text()
    kept = [line for line in before.splitlines() if not without or not line.startswith(without)]
    _write_conf("\n".join([*kept, *lines]) + "\n")
    try:
        _reconfigure()
        yield
    finally:
        _write_conf(before)
        _reconfigure()


def _write_conf(text: str) -> None:
    new = _CONF.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o644)
    new.rename(_CONF)


def _reconfigure() -> None:
    run("scontrol", "reconfigure")
    # The daemons execute themselves anew; a slurmd that a test has killed stays away.
    wait_for(lambda: run("scontrol", "ping", check=False), lambda said: "UP" in said)
    deadline = time.monotonic() + 10
    while "*" in run("sinfo", "-hN", "-p", "viz", "-o", "%T") and time.monotonic() < deadline:
        time.sleep(0.1)


@contextlib.contextmanager
def foreign(node: Node, *programs: str, user: str = "dave") -> Iterator[None]:
    """Python programs of somebody who is no part of any session run on a node, and are killed.

    Each says something on its standard output when it is ready, and sleeps.
    """
    whole = "import socket, time, sys\n{}\nprint('ready', flush=True)\ntime.sleep(600)\n"
    running = [
        subprocess.Popen(
            node.command("python3", "-c", whole.format(program), user=user),
            stdout=subprocess.PIPE,
            text=True,
        )
        for program in programs
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        # Ending nsenter would leave what it started in the node.
        node.run("pkill", "-KILL", "-u", user, "-f", "import socket, time, sys", check=False)
        for process in running:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def tcp(port: int) -> str:
    """A foreign program that listens on a TCP port."""
    return f"s = socket.create_server(('', {port}))"


def bound(port: int) -> str:
    """One that has bound a TCP port and does not listen yet: no list of sockets shows it."""
    return f"s = socket.socket(); s.bind(('', {port}))"


def udp(port: int) -> str:
    """One that has bound a UDP port."""
    return f"s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {port}))"


def x_server(display: int, *, abstract: bool) -> str:
    """One that listens where the X server of a display does."""
    path = f"/tmp/.X11-unix/X{display}"  # noqa: S108 - where X servers listen
    if abstract:
        return f"s = socket.socket(socket.AF_UNIX); s.bind('\\0{path}'); s.listen()"
    return (
        "import os; os.makedirs('/tmp/.X11-unix', mode=0o1777, exist_ok=True)\n"
        f"import contextlib\nwith contextlib.suppress(FileNotFoundError): os.unlink('{path}')\n"
        f"s = socket.socket(socket.AF_UNIX); s.bind('{path}'); s.listen()"
    )


def until_gone(node: str, job_id: int, timeout_s: float = 30) -> float:
    """Wait until no process of a job is left on a node; seconds that it took."""

    def left() -> list[int]:
        seen = on_node(node)
        return [pid for pid, job in seen.jobs.items() if job == job_id] if seen else []

    begin = time.monotonic()
    wait_for(left, lambda pids: not pids, timeout_s)
    return time.monotonic() - begin
