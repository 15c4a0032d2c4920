"""The command line of ``./dev``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import (
    bench,
    head,
    layout,
    lock,
    machine,
    preflight,
    rootfs,
    service,
    session,
    store,
    testing,
    tools,
)
from devcluster.errors import CancelledError, DevError, StepError
from devcluster.holder import Holder, heads, require_ours
from devcluster.process import Runner
from devcluster.progress import Progress
from devcluster.up import Options, Up

if TYPE_CHECKING:
    from types import FrameType

_SHOWN_LINES = 20
EXIT_FAILED = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AFTER_INTERRUPT = {
    "up": "Interrupted. What was finished is kept; ./dev up carries on.",
    "test": "Interrupted. The cluster stays as it is; ./dev down stops it.",
    "bench": "Interrupted. The cluster stays as it is; ./dev down stops it.",
    "down": "Interrupted. ./dev down carries on.",
}


class Interrupted(KeyboardInterrupt):
    """A signal asks for the end; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def make_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        prog="./dev",
        allow_abbrev=False,
        description="A real Slurm cluster on this machine, in namespaces, for development.",
        epilog="Everything it keeps is below MOONLIGHT_DEV_DIR (default /var/lib/moonlight-dev).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the cluster and a first session")
    _add_sources(up)
    up.add_argument("--no-session", action="store_true", help="do not ask for a session at the end")

    test = commands.add_parser(
        "test",
        allow_abbrev=False,  # pytest has options of its own
        help="lint, and run all tests on the cluster",
        description="Lint, and run all tests on the cluster, which is started when needed."
        " Further arguments go to pytest: ./dev test tests/unit -k ports",
    )
    _add_sources(test)
    test.add_argument("--no-lint", action="store_true", help="run only pytest")
    test.add_argument(
        "--slow", action="store_true", help="also the tests marked slow: load, crashes, fuzzing"
    )

    measure = commands.add_parser(
        "bench",
        help="measure how fast it is, beside a baseline",
        description="Measure how fast it is, on the cluster, which is started when needed; the "
        "cluster's own service stands still meanwhile. docs/performance.md tells what is measured.",
    )
    _add_sources(measure)
    measure.add_argument(
        "--long", action="store_true", help="more and longer; writes docs/performance.md"
    )
    measure.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    measure.add_argument("names", nargs="*", metavar="NAME", help="only these measurements")

    shell = commands.add_parser(
        "shell",
        help="a root shell on the head or a node",
        description="A root shell, or a command: ./dev shell viz1 -- ss -lntp",
    )
    shell.add_argument(
        "machine", nargs="?", default="head", help="head (default), viz1, viz2, cpu1"
    )

    logs = commands.add_parser("logs", help="show a log, or which there are")
    logs.add_argument("name", nargs="?", default="", help="a daemon or a step; none lists them")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what is added")

    status = commands.add_parser("status", help="who holds the cluster, and what runs")
    status.add_argument("--json", action="store_true", help="for programs")

    down = commands.add_parser("down", help="stop everything")
    down.add_argument(
        "--purge", action="store_true", help="also remove the cluster's data (not what was built)"
    )
    down.add_argument("--force", action="store_true", help="even if another checkout started it")
    return parser


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debian-mirror", metavar="URL", default="", help="instead of the one in apt's sources"
    )
    parser.add_argument(
        "--sunshine-deb",
        metavar="FILE",
        type=Path,
        help="build the image with this package instead of the stand-in",
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What follows "--" belongs to the command inside, whatever it looks like.
    words, rest = (
        (words[: words.index("--")], words[words.index("--") + 1 :])
        if "--" in words
        else (words, [])
    )
    parser = make_parser()
    options, unknown = parser.parse_known_args(words)
    if options.command == "test":
        rest = unknown + rest
    elif unknown:
        parser.error(f"unknown: {' '.join(unknown)} (./dev {options.command} --help)")
    for number in _SIGNALS:
        # Under nohup a hang-up is to be ignored; SIGINT is ignored for every job in the background
        # of a script, where somebody who sends it means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        return _run(options, rest)
    except Interrupted as interrupted:
        print(f"\n{_AFTER_INTERRUPT.get(options.command, '')}".rstrip(), file=sys.stderr)
        return 128 + interrupted.number
    except DevError as error:
        _explain(error)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output has gone, as in `./dev logs | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    # Root by `su` may have an ordinary user's PATH, and a umask under which the cluster's users
    # could not read what is made for them.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{layout.ROOT_PATH}"
    os.umask(0o022)
    preflight.check_person_and_system()
    paths = layout.Paths.from_environ(os.environ)
    match options.command:
        case "up":
            return _up(paths, options)
        case "test":
            return _test(paths, options, rest)
        case "bench":
            return _bench(paths, options)
        case "shell":
            return tools.shell(options.machine, rest)
        case "logs":
            return tools.logs(paths, options.name, follow=options.follow)
        case "status":
            return tools.status(as_json=options.json)
        case _:
            return _down(paths, options)


def _up(paths: layout.Paths, options: argparse.Namespace) -> int:
    progress = Progress(paths.logs)
    runner = Runner()
    _bring_up(paths, options, progress, runner)
    if options.no_session:
        print(f"\nThe cluster is up.\n{session.next_steps()}")
    else:
        running = session.ask(paths, progress, runner)
        print(session.how_to_go_on(running))
    print(f"\nUp after {progress.elapsed_s:.0f} s.")
    return 0


def _bring_up(
    paths: layout.Paths, options: argparse.Namespace, progress: Progress, runner: Runner
) -> Holder:
    require_ours(Holder.load())
    with lock.exclusive(options.command, progress):
        up = Up(paths, Options(options.debian_mirror, options.sunshine_deb), progress, runner)
        try:
            return up.run()
        except (Interrupted, CancelledError):
            up.undo_half()
            raise


def _test(paths: layout.Paths, options: argparse.Namespace, rest: list[str]) -> int:
    holder, host = _with_test_tools(paths, options)
    return testing.run(holder, host, lint=not options.no_lint, slow=options.slow, arguments=rest)


def _bench(paths: layout.Paths, options: argparse.Namespace) -> int:
    holder, host = _with_test_tools(paths, options)
    return bench.run(
        paths, holder, host, long=options.long, as_json=options.json, names=options.names
    )


def _with_test_tools(
    paths: layout.Paths, options: argparse.Namespace
) -> tuple[Holder, machine.Machine]:
    progress = Progress(paths.logs)
    runner = Runner()
    holder = _bring_up(paths, options, progress, runner)
    host = machine.read(options.debian_mirror)
    root = store.kept(paths.cache / "roots", rootfs.root_key(host))
    if root is None:
        raise DevError("The root file system has just been removed.", "Run it again.")
    inside = head.Inside(holder, host, runner)
    with lock.exclusive(options.command, progress):
        service.provide_test_tools(paths, root, inside, progress)
    return holder, host


def _down(paths: layout.Paths, options: argparse.Namespace) -> int:
    holder = Holder.load()
    if not options.force:
        require_ours(holder)
    if holder:
        # What runs is ended where it lies, whatever MOONLIGHT_DEV_DIR says now.
        paths = layout.Paths(Path(holder.dev_dir))
    paths.logs.mkdir(mode=0o755, parents=True, exist_ok=True)
    progress = Progress(paths.logs)
    with lock.exclusive("down", progress):
        holder = Holder.load()
        found = heads()
        if holder:
            with progress.step("stop daemons") as step:
                head.stop(holder, step.log)
        with progress.step("remove namespaces, mounts and network") as step:
            left = head.clear_leftovers()
            step.result = ", ".join(left) or "there were none"
        if options.purge:
            with progress.step("remove the cluster's data"):
                store.remove(paths.state)
        store.remove(paths.run)
    if not found and not left:
        print("The cluster was not running.")
    return 0


def _explain(error: DevError) -> None:
    print(f"\n{error}", file=sys.stderr)
    log = error.log if isinstance(error, StepError) else None
    if log:
        lines = tools.tail(log, _SHOWN_LINES)
        print(f"The end of its log, {log}:", file=sys.stderr)
        print("\n".join(f"  | {line}" for line in lines), file=sys.stderr)
    if error.hint:
        print(f"What to do: {error.hint}", file=sys.stderr)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # One is enough: a second would interrupt the tidying up.
    _ignore_signals()
    raise Interrupted(number)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
