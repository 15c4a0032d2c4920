"""The exit codes, by name; a script may rely on them."""

import os

EXIT_OK = os.EX_OK
"""Done."""
EXIT_REFUSED = 1
"""The request was refused, or what it names does not exist."""
EXIT_USAGE = 2
"""The command line itself is faulty."""
EXIT_UNAVAILABLE = os.EX_UNAVAILABLE
"""Slurm, Redis, Sunshine or the service is away; the same command may succeed later."""
EXIT_CONFIG = os.EX_CONFIG
"""The configuration is faulty."""
EXIT_INTERRUPTED = 130
"""Interrupted by Ctrl-C."""

MEANINGS = {
    EXIT_OK: "done",
    EXIT_REFUSED: "refused, or not found",
    EXIT_USAGE: "faulty command line, or a value that cannot be had",
    EXIT_UNAVAILABLE: "Slurm, Redis, Sunshine or the service is away; try again later",
    EXIT_CONFIG: "faulty configuration",
    EXIT_INTERRUPTED: "interrupted",
}
