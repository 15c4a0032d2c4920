"""The commands that look into a running cluster: shell, logs, status, test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from devcluster import head, layout
from devcluster.errors import DevError
from devcluster.holder import Holder, require_ours
from devcluster.process import output_of

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_LINES = 40
_FOLLOW_POLL_S = 0.3


def running() -> Holder:
    """The cluster of this checkout.

    Raises:
        DevError: None runs, or it is another checkout's.
    """
    holder = Holder.load()
    require_ours(holder)
    if holder is None:
        raise DevError("The cluster is not running.", "Start it: ./dev up")
    return holder


def shell(machine: str, command: list[str]) -> int:
    """Replace this process by a root shell (or a command) on a machine of the cluster."""
    holder = running()
    names = [node.name for node in layout.nodes()]
    if machine not in names:
        raise DevError(f"There is no machine {machine}.", f"There are: {', '.join(names)}.")
    node = None
    if machine != "head":
        node = head.node_pid(holder.pid, machine)
        if node is None:
            raise DevError(
                f"The node {machine} is off.",
                f"./dev shell -- cluster-service start node@{machine} slurmd@{machine}",
            )
    # A login shell reads /etc/profile.d, where the cluster's variables are set.
    words = ["bash", "-lc", 'exec "$@"', "bash", *command] if command else ["bash", "-l"]
    if not command and sys.stdin.isatty():
        # A terminal of the machine's own: the caller's is not in its /dev/pts.
        words = ["script", "--quiet", "--return", "--command", "exec bash -l", "/dev/null"]
    terminal = {"TERM": os.environ["TERM"]} if os.environ.get("TERM") else {}
    env = {"PATH": layout.ROOT_PATH, "HOME": "/root"}
    full = head.inside(holder.pid, ["env", "--chdir=/root", *words], node=node)
    os.execvpe(  # noqa: S606  # becomes the shell, so that its exit code and signals are its own
        full[0], full, {**env, "LANG": "C.UTF-8", **terminal}
    )


def log_files(paths: layout.Paths) -> dict[str, Path]:
    """All logs by the name under which `./dev logs` shows them."""
    found = {path.stem: path for path in sorted(paths.logs.glob("*.log"))}
    found.update({path.stem: path for path in sorted(paths.cluster_logs.glob("*.log"))})
    service = paths.state / "moonlight/backend_moonlight_8004/logs/service.log"
    if service.is_file():
        found["moonlight"] = service
    return found


def logs(paths: layout.Paths, name: str, *, follow: bool) -> int:
    """Show the end of a log, or which there are."""
    files = log_files(paths)
    if not name:
        if not files:
            print("There are no logs yet: ./dev up makes them.")
        for known, path in files.items():
            print(f"{known:22} {path}")
        return 0
    if name not in files:
        raise DevError(f"There is no log {name}.", "./dev logs shows the names.")
    print("\n".join(tail(files[name], _TAIL_LINES)))
    if not follow:
        return 0
    with files[name].open(errors="replace") as stream:
        stream.seek(0, os.SEEK_END)
        while True:
            text = stream.read()
            print(text, end="", flush=True)
            if not text:
                time.sleep(_FOLLOW_POLL_S)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file; nothing when it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def status(*, as_json: bool) -> int:
    """Show who holds the cluster and what of it runs; exit code 3 when it is down."""
    holder = Holder.load()
    services: dict[str, str] = {}
    if holder:
        env_free = ["env", f"PATH={layout.ROOT_PATH}"]
        text = subprocess.run(
            head.inside(holder.pid, [*env_free, "cluster-service", "status", "cluster"]),
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for line in text.splitlines():
            name, state, *_pid = line.split()
            services[name] = state
    if as_json:
        known = {
            "running": holder is not None,
            "checkout": holder.checkout if holder else None,
            "dev_dir": holder.dev_dir if holder else None,
            "pid": holder.pid if holder else None,
            "since": holder.since if holder else None,
            "services": services,
        }
        print(json.dumps(known, indent=1))
    elif holder is None:
        print("The cluster is not running. Start it: ./dev up")
    else:
        print(holder.sentence())
        print(f"Its files: {holder.dev_dir}")
        for name, state in services.items():
            print(f"  {name:16} {state}")
        nodes = output_of(head.inside(holder.pid, ["sinfo", "--Node", "--long"]))
        jobs = output_of(head.inside(holder.pid, ["squeue", "--long"]))
        print(f"\n{nodes}\n{jobs}".rstrip())
    return 0 if holder else 3
