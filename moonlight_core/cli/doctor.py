"""What is wrong with the site: ``doctor``."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from moonlight_core.cli.exits import EXIT_CONFIG, EXIT_OK, EXIT_REFUSED
from moonlight_core.cli.output import print_json
from moonlight_core.doctor import CHECKS, Grade, Site, examine
from moonlight_core.errors import SettingsError

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context
    from moonlight_core.doctor import Finding

_COLOURS = {Grade.GREEN: "32", Grade.YELLOW: "33", Grade.RED: "31"}
_WIDTH = 100


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    doctor = commands.add(
        "doctor",
        _doctor,
        "find out what is wrong with the site, and how to mend it",
        description="Look at everything a site may have got wrong: Slurm and pyslurm, accounting, "
        "Redis, directories, secrets, images, ports, the proxy, the line to VNC, and a node. Each "
        "finding is green, yellow (sessions work, something is at risk) or red (they do not, or "
        "not safely), and says how to mend it. Nothing is changed; the check of a node runs a job "
        "of some seconds. Exit code 0 without a red finding, 1 with one, 78 when the configuration "
        "itself is faulty.",
        examples=[
            ("moonlight doctor --user alice", "everything, with a node as alice finds it"),
            ("moonlight doctor --user alice --node viz1 --node viz2", "… these nodes"),
            ("moonlight doctor --only redis --only redis-acl", "two checks"),
            ("moonlight doctor --strict --json", "for monitoring: yellow is 1 as well"),
        ],
    )
    doctor.add_argument("--user", help="run the job on a node as this user (default: yourself)")
    doctor.add_argument(
        "--node", action="append", default=[], help="try this node (default: one of Slurm's choice)"
    )
    doctor.add_argument(
        "--only",
        action="append",
        choices=tuple(CHECKS),
        metavar="CHECK",
        help=f"run only this check; there are {', '.join(CHECKS)}",
    )
    doctor.add_argument("--strict", action="store_true", help="exit with 1 for yellow, too")


def _doctor(context: Context, arguments: argparse.Namespace) -> int:
    try:
        context.operators_only()
        settings = context.settings
    except SettingsError as exc:
        if not context.json:
            raise
        print_json(
            {
                "grade": Grade.RED,
                "findings": [
                    {
                        "check": "configuration",
                        "subject": "configuration",
                        "grade": Grade.RED,
                        "message": fault,
                        "mend": "Change it in the configuration file.",
                    }
                    for fault in exc.faults
                ],
            }
        )
        return EXIT_CONFIG
    site = Site(settings=settings, user=arguments.user, nodes=arguments.node)
    found: list[tuple[str, Finding]] = []
    for name, finding in examine(site, arguments.only):
        found.append((name, finding))
        if not context.json:
            _show(finding)
    count = Counter(finding.grade for _, finding in found)
    worst = next((grade for grade in (Grade.RED, Grade.YELLOW) if count[grade]), Grade.GREEN)
    if context.json:
        findings = [{"check": name, **attrs.asdict(finding)} for name, finding in found]
        print_json({"grade": worst, "findings": findings})
    else:
        print(f"{count[Grade.GREEN]} green, {count[Grade.YELLOW]} yellow, {count[Grade.RED]} red")
    bad = worst is Grade.RED or (arguments.strict and worst is Grade.YELLOW)
    return EXIT_REFUSED if bad else EXIT_OK


def _show(finding: Finding) -> None:
    grade = f"{finding.grade:6}"
    if sys.stdout.isatty():
        grade = f"\033[{_COLOURS[finding.grade]}m{grade}\033[0m"
    print(f"{grade}  {finding.subject}: {finding.message}", flush=True)
    if finding.mend:
        for line in textwrap.wrap(
            f"mend: {finding.mend}", _WIDTH, break_long_words=False, break_on_hyphens=False
        ):
            print(f"        {line}")
