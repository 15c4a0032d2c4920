"""The HTTP service: ``serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    serve = commands.add(
        "serve",
        _serve,
        "run the HTTP service",
        description="Run the HTTP service in the foreground until SIGTERM; sessions go on when it "
        "ends. It is what `python -m moonlight_http` and the systemd unit run.",
        examples=[("moonlight serve --log-level debug", "by hand, to see what it does")],
    )
    serve.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least severe messages shown (default: info)",
    )


def _serve(context: Context, arguments: argparse.Namespace) -> int:
    context.operators_only()
    # The library stands without its HTTP service, so only this command needs it.
    from moonlight_http.server import main  # noqa: PLC0415

    options = ["--log-level", arguments.log_level]
    if context.config is not None:
        options += ["--config", str(context.config)]
    return main(options)
