"""README's lines of curl, and the examples of docs/api.md, run as they stand on the head."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from on_cluster import Api

README = Path(__file__).parents[2] / "README.md"
ADDRESS = re.compile(r"^running at [\w.]+:\d+$")
PAGE = Path(__file__).parents[2] / "docs/api.md"


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


def test_the_examples_of_the_api(api: Callable[[str], Api], tmp_path: Path) -> None:
    """By curl and by Python, both at once; of the small image, which is quicker."""
    assert api("alice")("GET", "/api/moonlight/sessions")[0] == 200
    found = re.findall(r"(?s)```(?:sh|python)\n(.*?)```", PAGE.read_text())
    shell, python = [code.replace('"xfce4"', '"bare"') for code in found]
    environment = {**os.environ, "no_proxy": "*"}
    commands = (["bash", "-euo", "pipefail", "-c", shell], [sys.executable, "-u", "-c", python])
    running = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for command in commands
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    by_curl, by_python = [out.splitlines() for out, _ in told]
    running_at = next(at for at, line in enumerate(by_curl) if ADDRESS.match(line))
    assert {"xfce4", "bare"} <= set(by_curl[:running_at])
    assert any("starting_x" in line for line in by_curl[running_at:-4]), by_curl
    assert (tmp_path / "desktop.png").read_bytes().startswith(b"\x89PNG")
    command, pairing, ended, refused = by_curl[-4:]
    assert re.fullmatch(r"moonlight pair [\w.]+:\d+ --pin \d{4}", command)
    assert (pairing, refused) == ("waiting", "invalid_value: at most 8 hours")
    assert ended in ("stopping", "stopped")
    assert "running ready 100" in by_python
    assert re.fullmatch(r"[\w.]+:\d+", by_python[-2])
    assert by_python[-1] in ("stopping", "stopped")
