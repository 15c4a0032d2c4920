"""The batch script as it is submitted: one text, whole, and clean as one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moonlight_core import job
from moonlight_core.shipped import batch_script


def test_it_is_one_text() -> None:
    """Nothing beside it is needed on a node; what is called is there, and once."""
    script = batch_script()
    assert script.startswith("#!/bin/bash\n")
    assert not re.search(r"(?m)^source \S+\.bash", script)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    names = re.findall(r"(?m)^([a-z_]+)\(\) \{", script)
    assert {"on_node", "prepare_root", "inside", "watch_over"} <= set(names)
    assert len(names) == len(set(names))
    assert script.rstrip().endswith('main "$@"')


def test_it_is_clean_as_a_whole(tmp_path: Path) -> None:
    """What the parts share is seen only here."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "whole.bash"
    # The parts' own exceptions are for the parts.
    path.write_text(re.sub(r"(?m)^# shellcheck shell=bash disable=.*$", "", batch_script()))
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_every_value_it_takes_is_given() -> None:
    """A name that job.py does not set would end the script; one that nobody reads is a mistake."""
    script = batch_script()
    given = set(re.findall(r'"(MOONLIGHT_[A-Z_]+)"', Path(job.__file__).read_text("utf-8")))
    taken = set(re.findall(r"MOONLIGHT_[A-Z_]+", script))
    assert taken == given
