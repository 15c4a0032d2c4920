"""The service process: waitress, the reconcile loop, and a clean end on SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from moonlight_core import SessionManager, Settings, __version__
from moonlight_core.errors import MoonlightError, SettingsError
from moonlight_core.slurm_worker import WorkerGateway
from moonlight_http import logs
from moonlight_http.app import create_app
from moonlight_http.metrics import Metrics
from moonlight_http.pairings import Pairings
from moonlight_http.peers import accounts_are_told
from moonlight_http.serving import Server

if TYPE_CHECKING:
    from types import FrameType

_log = logging.getLogger("moonlight_http")
_M_ARENA_MAX = -8  # malloc.h of glibc, mallopt(3)
# Slurm's library is waited for so long before the first request is taken, in seconds.
_READY_S = 10
# Requests under way when the service is asked to stop have this long, in seconds.
_FINISH_S = 4


def main(argv: list[str] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT.

    Returns:
        the exit code: 0 after a clean end, 78 (EX_CONFIG) for a faulty configuration, 69
        (EX_UNAVAILABLE) when the address cannot be listened on.
    """
    arguments = _parser().parse_args(argv)
    _share_memory()
    logs.set_up(arguments.log_level, "text")
    try:
        settings = Settings.load(arguments.config)
        logs.set_up(arguments.log_level, settings.service.log_format)
        gateway = WorkerGateway(settings.slurm.conf, deadline_s=settings.slurm.deadline_s)
        manager = SessionManager.from_settings(settings, gateway=gateway)
    except MoonlightError as exc:
        print(f"moonlight_http: {exc}", file=sys.stderr)
        return os.EX_CONFIG
    service = settings.service
    stop = threading.Event()
    pairings = Pairings(stop)
    try:
        metrics = Metrics(manager)
        app = create_app(manager, pairings=pairings, metrics=metrics, tells_accounts=True)
        server = Server(app, service)
    except SettingsError as exc:
        print(f"moonlight_http: {exc}", file=sys.stderr)
        return os.EX_CONFIG
    except OSError as exc:
        why = "something else listens there" if exc.errno == errno.EADDRINUSE else exc.strerror
        print(
            f"moonlight_http: cannot listen on {exc.filename}: {why}. Stop it, or set [service] "
            "host, port, socket and users_socket.",
            file=sys.stderr,
        )
        return os.EX_UNAVAILABLE

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        # waitress ends its loop on SystemExit, and then waits for the requests under way.
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    loop = threading.Thread(
        target=_reconcile_loop,
        args=(manager, stop, service.reconcile_interval_s, metrics),
        name="reconcile",
        daemon=True,
    )
    threading.Thread(target=_tell_excess_rights, args=(manager,), daemon=True).start()
    if service.identity == "header" and service.host and not accounts_are_told():
        _log.error(
            "The kernel does not tell who connects to %s, so that no proxy of this host is "
            "believed: let the service use AF_NETLINK, or use [service] socket.",
            service.host,
        )
    places = [f"{service.host}:{service.port}"] if service.host else []
    places += [str(path) for path in (service.socket, service.users_socket) if path]
    _log.info("listening on %s", " and ".join(places))
    try:
        # Whoever asks meanwhile waits to be accepted, and is not told to come again.
        gateway.start(wait_s=_READY_S)
        loop.start()
        server.run()
    finally:
        stop.set()
        server.close()
        pairings.join(_FINISH_S)
        if loop.ident is not None:
            loop.join(timeout=_FINISH_S)
        manager.stop_listening()
        gateway.close()
        _log.info("stopped; sessions go on")
    return os.EX_OK


def _tell_excess_rights(manager: SessionManager) -> None:
    """Say what a mistake of ours, or of a burglar in us, could do in Redis and need not."""
    with contextlib.suppress(MoonlightError):
        for phrase in manager.excess_rights():
            _log.warning("The account in Redis may %s: see deploy/redis/moonlight.acl.", phrase)


def _share_memory() -> None:
    """Let all threads allocate from one place; elsewhere than in glibc there is nothing to do.

    glibc gives each thread a place of its own, which keeps what the longest answer of that thread
    took: 12 MB for ten thousand sessions, 200 MB in all. Under the GIL nobody waits for the one.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _reconcile_loop(
    manager: SessionManager, stop: threading.Event, interval_s: float, metrics: Metrics
) -> None:
    """Rounds until ``stop``; a trouble is told once when it begins and once when it is over."""
    trouble = ""
    # Listened to before the first round, so that what is said during a round is heard after it.
    with manager.nudges() as nudges:
        while not stop.is_set():
            try:
                began = time.monotonic()
                metrics.round_done(manager.reconcile(), time.monotonic() - began)
            except MoonlightError as exc:
                metrics.failed(exc)
                if type(exc).__name__ != trouble:
                    _log.warning("reconcile waits: %s", exc)
                    trouble = type(exc).__name__
            except Exception:  # noqa: BLE001 - the loop must outlive any bug in it
                _log.exception("reconcile failed")
            else:
                if trouble:
                    _log.info("reconcile goes on")
                trouble = ""
            try:
                manager.listen_for_changes()
                nudges.wait(interval_s, stop)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("listening to Redis failed")
                stop.wait(interval_s)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m moonlight_http",
        description="The HTTP service of Moonlight on Slurm. SIGTERM ends it; sessions go on.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: $MOONLIGHT_CONFIG, then /etc/moonlight/moonlight.toml)",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least severe messages shown (default: info)",
    )
    parser.add_argument("--version", action="version", version=f"moonlight_http {__version__}")
    return parser
