"""Files that ship with the library: in the wheel inside it, in a checkout beside it."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def batch_script() -> str:
    """The text of the batch script of a session: one, for Slurm takes no more.

    A line ``source NAME`` of the file stands for the file of that name beside it.
    """
    text = _read("sbatch_templates", "sunshine_session.sbatch")
    return re.sub(
        r"(?m)^source (\w+\.bash)$", lambda line: _read("sbatch_templates", line[1]), text
    )


def lua_script(name: str) -> str:
    """The text of a script of Redis."""
    return resources.files("moonlight_core").joinpath("lua", f"{name}.lua").read_text("utf-8")


def _read(folder: str, name: str) -> str:
    inside = resources.files("moonlight_core").joinpath(folder, name)
    if inside.is_file():
        return inside.read_text("utf-8")
    return (_CHECKOUT / folder / name).read_text("utf-8")
