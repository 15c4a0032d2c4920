"""Applications: `apps.json`, the commands around them, and which one runs."""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import PrepCommand
from .journal import Journal

DEFAULT_APPS: dict[str, Any] = {"env": {}, "apps": [{"name": "Desktop"}]}
AUTO_DETACH_S = 5.0


@dataclass
class App:
    """One entry of `apps.json`; without `cmd` it is the desktop itself."""

    id: int
    name: str
    cmd: str = ""
    working_dir: str = ""
    detached: list[str] = field(default_factory=list)
    prep: list[PrepCommand] = field(default_factory=list)
    auto_detach: bool = True
    exit_timeout_s: float = 5.0


def _expand(text: str, environment: dict[str, str]) -> str:
    """Replace $(NAME) by the environment's value, the only form Sunshine knows."""
    return re.sub(r"\$\((\w+)\)", lambda m: environment.get(m[1], ""), text)


def load_apps(
    path: Path, global_prep: list[PrepCommand], journal: Journal
) -> tuple[list[App], Any]:
    """Read the applications and the environment they get; a faulty file gives none of them."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else DEFAULT_APPS
        extra = {str(k): _expand(str(v), dict(os.environ)) for k, v in tree["env"].items()}
        environment = dict(os.environ) | extra
        apps = [_app(i, node, global_prep, environment) for i, node in enumerate(tree["apps"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        journal.error(f"{path}: {error}")
        return [], {}
    return apps, extra


def _app(
    index: int, node: dict[str, Any], global_prep: list[PrepCommand], environment: dict[str, str]
) -> App:
    name = _expand(str(node["name"]), environment)
    prep = [] if node.get("exclude-global-prep-cmd") else list(global_prep)
    prep += [PrepCommand(p.get("do", ""), p.get("undo", "")) for p in node.get("prep-cmd", [])]
    return App(
        id=zlib.crc32(f"{name}{index}".encode()) & 0x7FFFFFFF or 1,
        name=name,
        cmd=_expand(str(node.get("cmd", "")), environment),
        working_dir=_expand(str(node.get("working-dir", "")), environment),
        detached=[_expand(str(c), environment) for c in node.get("detached", [])],
        prep=[PrepCommand(_expand(p.do, environment), _expand(p.undo, environment)) for p in prep],
        auto_detach=bool(node.get("auto-detach", True)),
        exit_timeout_s=float(node.get("exit-timeout", 5)),
    )


class Runner:
    """Runs at most one application; its preparations are undone when it ends or is ended."""

    def __init__(self, path: Path, global_prep: list[PrepCommand], journal: Journal) -> None:
        self._journal = journal
        self._path = path
        self._global_prep = global_prep
        self._lock = threading.RLock()
        self._current: App | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._placebo = False
        self._launched_at = 0.0
        self._undo: list[PrepCommand] = []
        self._environment: dict[str, str] = {}
        self._detached: list[subprocess.Popen[bytes]] = []
        self.apps, self._extra = load_apps(path, global_prep, journal)

    def reload(self) -> None:
        """Read `apps.json` again, as after a change through the web interface."""
        self.apps, self._extra = load_apps(self._path, self._global_prep, self._journal)

    def running(self) -> int:
        """Return the number of the running application, 0 when there is none."""
        with self._lock:
            self._detached = [p for p in self._detached if p.poll() is None]
            if self._current is None:
                return 0
            if self._placebo or (self._process is not None and self._process.poll() is None):
                return self._current.id
            code = self._process.returncode if self._process is not None else 0
            young = time.monotonic() - self._launched_at < AUTO_DETACH_S
            if self._current.auto_detach and code == 0 and young:
                self._journal.info(
                    "App exited gracefully within 5 seconds of launch. "
                    "Treating the app as a detached command."
                )
                self._placebo = True
                return self._current.id
            self._journal.info(f"App exited with code [{code}]")
            self.terminate()
            return 0

    def launch(self, app_id: int, client: dict[str, str]) -> int:
        """Start an application for a client; return 0, or Sunshine's code for what failed."""
        with self._lock:
            self.terminate()
            app = next((a for a in self.apps if a.id == app_id), None)
            if app is None:
                self._journal.error(f"Couldn't find app with ID [{app_id}]")
                return 404
            self._environment = dict(os.environ) | self._extra | client
            self._environment |= {"SUNSHINE_APP_ID": str(app.id), "SUNSHINE_APP_NAME": app.name}
            self._current = app
            if self._start(app):
                self._launched_at = time.monotonic()
                return 0
            self.terminate()
            return -1

    def _start(self, app: App) -> bool:
        for prep in app.prep:
            if prep.do:
                self._journal.info(f"Executing Do Cmd: [{prep.do}]")
                code = self._run(prep.do)
                if code != 0:
                    self._journal.error(f"[{prep.do}] exited with code [{code}]")
                    return False
            self._undo.append(prep)
        for command in app.detached:
            self._journal.info(f"Spawning [{command}] in [{app.working_dir}]")
            process = self._spawn(command)
            if process is not None:
                self._detached.append(process)
        if not app.cmd:
            self._journal.info("Executing [Desktop]")
            self._placebo = True
            return True
        self._journal.info(f"Executing: [{app.cmd}] in [{app.working_dir}]")
        self._process = self._spawn(app.cmd)
        return self._process is not None

    def _spawn(self, command: str) -> subprocess.Popen[bytes] | None:
        """Start a command in a process group of its own, without a shell, as Sunshine does."""
        folder = self._current.working_dir if self._current is not None else ""
        try:
            return subprocess.Popen(
                shlex.split(command),
                env=self._environment,
                cwd=folder or None,
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            self._journal.warning(f"Couldn't run [{command}]: System: {error}")
            return None

    def _run(self, command: str) -> int:
        process = self._spawn(command)
        return process.wait() if process is not None else -1

    def terminate(self) -> None:
        """End the application, if one runs, and undo its preparations in reverse order."""
        with self._lock:
            app, process = self._current, self._process
            self._placebo = False
            if app is not None and process is not None and process.poll() is None:
                self._end(process, app.exit_timeout_s)
            self._process = None
            while self._undo:
                prep = self._undo.pop()
                if prep.undo:
                    self._journal.info(f"Executing Undo Cmd: [{prep.undo}]")
                    code = self._run(prep.undo)
                    if code != 0:
                        self._journal.warning(f"Return code [{code}]")
            self._current = None

    def _end(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, timeout_s)):
            try:
                os.killpg(process.pid, number)
                process.wait(patience_s)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
            break
