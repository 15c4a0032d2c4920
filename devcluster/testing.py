"""``./dev test``: lint and all tests, on the head, as root."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from devcluster import head, proc
from devcluster.process import DIE_WITH_PARENT, kill_group

if TYPE_CHECKING:
    from devcluster.holder import Holder
    from devcluster.machine import Machine

_PATIENCE_S = 30.0


def run(holder: Holder, host: Machine, *, lint: bool, slow: bool, arguments: list[str]) -> int:
    """Run them on this terminal, pytest's summary last; returns the exit code."""
    script = [
        "/usr/local/lib/moonlight-dev/run-tests",
        *([] if lint else ["--no-lint"]),
        *(["--slow"] if slow else []),
        *arguments,
    ]
    return run_on_head(holder, host, script)


def run_on_head(holder: Holder, host: Machine, script: list[str]) -> int:
    """Run a program of ours on this terminal; Ctrl-C reaches it, and it may tidy up."""
    process = subprocess.Popen(
        [*DIE_WITH_PARENT, *head.inside(holder.pid, [*DIE_WITH_PARENT, *script])],
        stdin=subprocess.DEVNULL,
        env=host.environment(),
        start_new_session=True,
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        # To everybody but nsenter, whose death would be the death of all: pytest's fixtures, and
        # whatever else there is, shall end what they started.
        for pid in proc.group_members(process.pid):
            if pid != process.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        kill_group(process.pid)
        raise
