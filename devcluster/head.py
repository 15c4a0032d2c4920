"""The head machine: its namespaces, from the host's side."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from devcluster import layout, proc, store
from devcluster.errors import StepError
from devcluster.holder import Holder, head_environment, heads
from devcluster.process import DIE_WITH_PARENT, ISOLATED, Runner, output_of, succeeds

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.machine import Machine

#: First process of work's own process namespace: reaps what its programs leave behind.
_INIT = ("tini", "--")
_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 6.0
_POLL_S = 0.05


def start(paths: layout.Paths, host: Machine, root: Path, key: str, log: Path) -> Holder:
    """Start the head's namespaces on the kept root file system ``root``.

    Raises:
        StepError: It did not come up.
    """
    clear_leftovers()
    store.remove(paths.run / "tmp")
    paths.make()
    host.write_files(paths.run / "files")
    host.write_binds(paths.run / "binds")
    _make_bridge(log)
    with log.open("ab") as output:
        # Not a child that dies with this process: the cluster outlives the command.
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
                *("--propagation", "private", "--"),
                layout.CHECKOUT / "devcluster/inside/head-init",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={
                "PATH": host.environment()["PATH"],
                "BASE": str(root),
                "DEV_DIR": str(paths.root),
                "CHECKOUT": str(layout.CHECKOUT),
                "BINDS": str(paths.run / "binds"),
                "FILES": str(paths.run / "files"),
                **head_environment(paths.root, key),
            },
        )
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        holder = Holder.load()
        if holder:
            return holder
        time.sleep(_POLL_S)
    clear_leftovers()
    raise StepError("The head machine did not come up.", "The end of the log says why.", log)


def stop(holder: Holder, log: Path) -> None:
    """End the cluster: databases first and in peace, then everything at once."""
    env = {"PATH": layout.ROOT_PATH, "HOME": "/root"}
    with log.open("ab") as output:
        try:
            subprocess.run(
                inside(holder.pid, ["cluster-service", "shutdown"]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_STOP_LIMIT_S,
                check=False,
                env=env,
            )
        except subprocess.TimeoutExpired:
            output.write(b"Daemons did not end in time; they are killed.\n")


def clear_leftovers() -> list[str]:
    """Kill heads, and remove what a killed one leaves behind; returns what was found."""
    found = []
    for pid in heads():
        found.append(f"head process {pid}")
        _kill(pid)
    if succeeds(["ip", "link", "show", layout.BRIDGE]):
        found.append(f"bridge {layout.BRIDGE}")
        # Cables go with the namespaces of their nodes, a moment after these; a cable without bridge
        # is of no use.
        for line in output_of(["ip", "-o", "link", "show", "master", layout.BRIDGE]).splitlines():
            succeeds(["ip", "link", "delete", line.split(":")[1].strip().split("@")[0]])
        succeeds(["ip", "link", "delete", layout.BRIDGE])
    return found


def inside(pid: int, command: list[str], *, node: int | None = None) -> list[str]:
    """The words that run ``command`` on the head, or in a node.

    ``node`` is the node's first process, as the head numbers it.
    """
    enter = ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--pid", "--"]
    if node is not None:
        enter += ["nsenter", "--target", str(node), "--all", "--"]
    return [*enter, *command]


def node_pid(pid: int, name: str) -> int | None:
    """The first process of a node, as the head numbers it; None while the node is off."""
    text = output_of(inside(pid, ["cat", f"/run/moonlight-dev/nodes/{name}.pid"])).strip()
    return int(text) if text.isdigit() else None


class Inside:
    """Runs work on the head, with logs and cancelling like any other program of the command."""

    def __init__(self, holder: Holder, host: Machine, runner: Runner) -> None:
        self._holder = holder
        self._env = host.environment()
        self._runner = runner

    def work(self, command: list[str], log: Path, *, what: str, hint: str = "", **env: str) -> None:
        """Run something that ends; it and all it starts die when the command is interrupted."""
        self._run([*DIE_WITH_PARENT, *ISOLATED, *_INIT, *command], log, what, hint, env)

    def service(self, *words: str, log: Path) -> None:
        """Run cluster-service; the daemons it starts stay."""
        what = f"cluster-service {' '.join(words)}"
        hint = "./dev logs NAME shows the log of a daemon; ./dev up tries again."
        self._run(["cluster-service", *words], log, what, hint, {})

    def _run(
        self, command: list[str], log: Path, what: str, hint: str, env: dict[str, str]
    ) -> None:
        self._runner.run(
            inside(self._holder.pid, command),
            log,
            what=what,
            hint=hint,
            env={**self._env, **env},
        )


def _make_bridge(log: Path) -> None:
    commands = (
        f"ip link add {layout.BRIDGE} type bridge",
        f"ip address add {layout.BRIDGE_ADDRESS}/24 dev {layout.BRIDGE}",
        f"ip link set {layout.BRIDGE} up",
    )
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.returncode:
            with log.open("a") as output:
                output.write(f"$ {command}\n{done.stderr}")
            raise StepError(
                "The network bridge of the cluster could not be made.",
                f"`{command}` failed; a kernel without bridges or a container without CAP_NET_ADMIN"
                " cannot run the cluster.",
                log,
            )


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    end = time.monotonic() + _STOP_LIMIT_S
    while time.monotonic() < end and proc.is_alive(pid):
        time.sleep(_POLL_S)
