"""The life of the stand-in, from its command line to its exit code."""

import contextlib
import ctypes
import os
import random
import resource
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import VERSION, api, gamestream
from .apps import Runner
from .config import Config, ConfigError, UsageError, load
from .gamestream import GameStream
from .journal import Journal
from .pairing import Pairing
from .state import Credentials, StartupError, State, make_certificate
from .streams import Streams
from .video import Video
from .web import Listener, http_service

HALF_ALIVE_CHANCE = 48 / 120
"""How often real Sunshine did not exit when a TCP port was taken (48 of 120 starts)."""

EXIT_AFTER_BUSY_S = 0.2
HANG_S = 10.0
STOP_S = (0.2, 2.3)
WATCH_S = 0.25
UINPUT = "/dev/uinput"

HELP = """\
Usage: sunshine [options] [/path/to/configuration_file] [--cmd]
    Any configurable option can be overwritten with: "name=value"

    --help                    | print help
    --version                 | print the version of sunshine
    --creds username password | set user credentials for the Web manager

This is a stand-in for Sunshine: it streams nothing.
"""


def main(arguments: list[str]) -> int:
    """Run until told to stop; the exit code is Sunshine's, and so says little."""
    try:
        config = load(arguments)
    except UsageError:
        sys.stdout.write(HELP)
        return 0
    except ConfigError as error:
        sys.stdout.write(f"Failed to apply config: {error}\n")
        sys.stdout.flush()
        return 0
    journal = Journal(str(config.log_path), config.min_log_level)
    journal.info(f"Sunshine version: {VERSION} commit: stand-in")
    journal.info("Package Publisher: a stand-in for tests, not LizardByte")
    for key, value in config.given.items():
        journal.info(f"config: '{key}' = {value}")
    if config.command is not None:
        return _command(config, journal)
    return Sunshine(config, journal).run()


def _command(config: Config, journal: Journal) -> int:
    match config.command:
        case "version":
            return 0
        case "help":
            sys.stdout.write(HELP)
            return 0
        case "creds" if len(config.command_arguments) >= 2:
            username, password = config.command_arguments[:2]
            Credentials(config.credentials_file, journal).save(username, password)
            return 0
    journal.fatal(f"Unknown command: {config.command}")
    return 7


class Sunshine:
    """One running instance."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._stopping = threading.Event()
        self._told_to_stop = threading.Event()
        self._listeners: list[Listener] = []

    def _own(self, key: str) -> str:
        """Return a setting of the stand-in's own, from the configuration or the environment."""
        return self._config.own.get(key, os.environ.get(f"STANDIN_{key.upper()}", ""))

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, or until a port turns out to be taken."""
        signal.signal(signal.SIGTERM, partial(self._on_signal, "Terminate handler called"))
        signal.signal(signal.SIGINT, partial(self._on_signal, "Interrupt handler called"))
        signal.signal(signal.SIGUSR1, self._go_deaf)
        config, journal = self._config, self._journal
        runner = Runner(config.file_apps, config.global_prep_cmd, journal)
        self._look_for_input()
        video = Video(config, journal)
        if not video.probe():
            journal.error("Video failed to find working encoder")
        try:
            if not (config.pkey.exists() and config.cert.exists()):
                make_certificate(config.pkey, config.cert, "Sunshine Gamestream Host")
            credentials = Credentials(config.credentials_file, journal)
        except StartupError as error:
            journal.error(str(error))
            journal.fatal("HTTP interface failed to initialize")
            return 255
        _check_certificate(config.cert, config.pkey)
        state = State(config.file_state, journal)
        streams = Streams(config.address, config.port, journal, runner.running)
        pairing = Pairing(state, self._stopping)
        clients = GameStream(config, state, pairing, runner, streams, video)
        web = api.WebApi(config, credentials, state, pairing, runner, streams, journal)
        tls_clients = partial(_tls, config.cert, config.pkey, state)
        tls_web = partial(_tls, config.cert, config.pkey, None)
        p = config.port
        https = p + gamestream.HTTPS_OFFSET
        http_complaint = f"Couldn't start http server on ports [{https}, {https}]: bind: {{}}"
        web_complaint = (
            f"Couldn't start Configuration HTTPS server on port [{p + api.OFFSET}]: bind: {{}}"
        )
        rtsp_complaint = f"Couldn't bind RTSP server to port [{p + gamestream.RTSP_OFFSET}], {{}}"
        free = [
            self._listen(https, http_service(clients.https, tls_clients), http_complaint),
            self._listen(p, http_service(clients.http), http_complaint),
            self._listen(p + api.OFFSET, http_service(web.handle, tls_web), web_complaint),
            self._listen(p + gamestream.RTSP_OFFSET, streams.serve, rtsp_complaint),
        ]
        if all(free):
            journal.info(f"Configuration UI available at [https://localhost:{p + api.OFFSET}]")
        elif self._exits_when_busy():
            time.sleep(EXIT_AFTER_BUSY_S)
            return self._stop(runner, streams)
        else:
            self._hang()
        while not self._told_to_stop.wait(WATCH_S):
            streams.end_if_app_gone()
        time.sleep(self._stop_seconds())
        return self._stop(runner, streams)

    def _on_signal(self, message: str, _number: int, _frame: object) -> None:
        self._journal.info(message)
        self._told_to_stop.set()

    def _go_deaf(self, _number: int, _frame: object) -> None:
        """Stop listening and go on, as a Sunshine whose web servers have ended by an error."""
        for listener in self._listeners:
            listener.close()

    def _look_for_input(self) -> None:
        """Warn as 2026.516 does where there is no input: without uinput it has none at all."""
        try:
            os.close(os.open(UINPUT, os.O_RDWR | os.O_NONBLOCK))
        except OSError as error:
            if self._config.mouse:
                self._journal.warning(f"Unable to create virtual mouse: {error.strerror}")
            if self._config.keyboard:
                self._journal.warning(f"Unable to create virtual keyboard: {error.strerror}")
            self._journal.warning("No gamepad input is available")

    def _listen(self, port: int, serve: Callable[..., None], complaint: str) -> bool:
        try:
            listener = Listener(self._config.address, port, serve)
        except OSError as error:
            self._journal.fatal(complaint.format(error.strerror))
            return False
        listener.start()
        self._listeners.append(listener)
        return True

    def _exits_when_busy(self) -> bool:
        match self._own("busy_port"):
            case "exit":
                return True
            case "hang":
                return False
            case _:
                return random.random() >= HALF_ALIVE_CHANCE  # noqa: S311 - no secret

    def _hang(self) -> None:
        """Stay half alive; told to stop, die of SIGTRAP after ten seconds."""
        self._told_to_stop.wait()
        time.sleep(float(self._own("hang_s") or HANG_S))
        self._journal.fatal("10 seconds passed, yet Sunshine's still running: Forcing shutdown")
        _die_of(signal.SIGTRAP)

    def _stop_seconds(self) -> float:
        given = self._own("stop_s")
        return float(given) if given else random.uniform(*STOP_S)  # noqa: S311 - no secret

    def _stop(self, runner: Runner, streams: Streams) -> int:
        self._stopping.set()
        for listener in self._listeners:
            listener.close()
        streams.end_all()
        runner.terminate()
        return 0


def _tls(cert: Path, pkey: Path, state: State | None) -> ssl.SSLContext:
    """Return a context for one connection; with a state, one that knows the paired clients now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, pkey)
    if state is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        for client in state.clients():
            context.load_verify_locations(cadata=client.cert)
    return context


def _check_certificate(cert: Path, pkey: Path) -> None:
    """Die as Sunshine does, of an exception nobody catches, when key and certificate do not fit."""
    try:
        _tls(cert, pkey, None)
    except (OSError, ssl.SSLError) as error:
        sys.stdout.write(f"terminate called after throwing an instance of 'error': {error}\n")
        sys.stdout.flush()
        _die_of(signal.SIGABRT)


def _die_of(number: signal.Signals) -> None:
    """End by a signal's default action, without leaving a core file."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    ctypes.CDLL(None).abort()
