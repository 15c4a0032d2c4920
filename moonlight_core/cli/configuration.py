"""What is configured: ``config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.cli.output import print_json, print_table
from moonlight_core.effective import effective

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    config = commands.add(
        "config",
        _config,
        "show the settings and where each comes from",
        description="Show every setting with its value and where it comes from: the default, the "
        "configuration file, or a variable of the environment. Passwords are not shown. With "
        "faults in the configuration, they are told instead.",
        examples=[
            ("moonlight config", "everything"),
            ("moonlight config --changed", "only what is not the default"),
            ("moonlight config --help-text", "what each setting is for, and its default"),
        ],
    )
    config.add_argument("--changed", action="store_true", help="leave the defaults out")
    config.add_argument(
        "--help-text", action="store_true", help="say what each setting is for instead of its value"
    )


def _config(context: Context, arguments: argparse.Namespace) -> None:
    path, values = effective(context.config)
    shown = [value for value in values if not arguments.changed or value.source != "default"]
    if context.json:
        print_json(
            {
                "file": str(path),
                "settings": {
                    value.name: {
                        "value": value.value,
                        "default": value.default,
                        "source": value.source,
                        "help": value.help,
                    }
                    for value in shown
                },
            }
        )
        return
    print(f"# {path}")
    if arguments.help_text:
        print_table(
            ("setting", "default", "what it is for"),
            [[value.name, _text(value.default), value.help] for value in shown],
        )
    else:
        print_table(
            ("setting", "value", "from"),
            [[value.name, _text(value.value), value.source] for value in shown],
        )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "-"
    if value in (None, ""):
        return "-"
    return " ".join(str(value).split())
