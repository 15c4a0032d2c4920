"""README's lines of curl, run as they stand on the head."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from on_cluster import Api

README = Path(__file__).parents[2] / "README.md"


def test_readmes_lines_of_curl(api: Callable[[str], Api]) -> None:
    """Images are listed; a session is made, shown and ended."""
    assert api("alice")("GET", "/api/moonlight/sessions")[0] == 200
    (lines,) = re.findall(r"(?s)```sh\n(API=.*?)```", README.read_text())
    assert len(lines.splitlines()) <= 6
    # An answer a line, whether it ends with a new line or not.
    script = re.sub(r"(?m)^curl ", "curl --noproxy '*' -sS -w '\\\\n' ", lines)
    script = script.replace("$(curl -s ", "$(curl --noproxy '*' -sS ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images, shown, ended = (json.loads(line) for line in done.stdout.splitlines() if line.strip())
    assert images["images"][0]["id"] == "xfce4"
    assert shown["username"] == "alice"
    assert shown["status"] in ("pending", "starting", "running")
    assert ended["session_id"] == shown["session_id"]
    assert ended["status"] in ("stopping", "stopped")
