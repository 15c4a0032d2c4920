"""The batch script as it is submitted: one text, whole, and clean as one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moonlight_core import job
from moonlight_core.shipped import batch_script

TOO_OFTEN = "It was started again 2 times, as often as is allowed."


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


def test_sunshine_has_all_its_restarts_again_after_a_quiet_hour() -> None:
    """A desktop of days does not fail for what happened once a day."""
    program = batch_script().replace(
        'main "$@"',
        """
        say() { printf '%s\\n' "$*"; }
        log() { :; }
        for name in end_sunshine set_resolution run_sunshine wait_until_ready mv; do
            eval "$name() { :; }"
        done
        MOONLIGHT_SUNSHINE_RESTARTS=2 MOONLIGHT_WIDTH=1 MOONLIGHT_HEIGHT=1 logs=/nowhere
        restarts=0 row=0 restarted_at=0 clients=0
        keep_going sunshine_died Once. && keep_going sunshine_died Twice.
        SECONDS=$((SECONDS + CALM_S))
        keep_going sunshine_died Later. && keep_going sunshine_died Again.
        keep_going sunshine_died Enough.
        """,
    )
    done = subprocess.run(["bash"], input=program, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    told = [line for line in done.stdout.splitlines() if line.startswith(("fact restarts", "fail"))]
    assert told == [
        *(f"fact restarts {total}" for total in (1, 2, 3, 4)),
        f"failed sunshine sunshine_died Enough. {TOO_OFTEN}",
    ]


@pytest.mark.parametrize(
    ("squeue", "status", "said"),
    [
        ("echo CANCELLED viz1", 143, "asked to end"),
        ("echo RUNNING viz1", 1, "no_slot"),
        ("false", 1, "no_slot"),
    ],
)
def test_a_job_that_was_cancelled_while_it_was_launched_waits_for_no_slot(
    squeue: str, status: int, said: str
) -> None:
    """Slurm may lose the signal of such a cancellation; no answer says nothing."""
    program = batch_script().replace(
        'main "$@"',
        f"""
        report() {{ :; }}
        log() {{ printf '%s\n' "$*"; }}
        fail() {{ echo "$1"; exit 1; }}
        timeout() {{ {squeue}; }}
        admin_comment() {{ :; }}
        sleep() {{ SECONDS=$((SECONDS + 1)); }}
        restart=0 display='' port='' busy='' container='' stopping=''
        MOONLIGHT_SLOT_WAIT_S=120 SLURM_JOB_ID=1 SLURMD_NODENAME=viz1
        wait_for_slot
        """,
    )
    done = subprocess.run(["bash"], input=program, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (status, said)


def test_every_value_it_takes_is_given() -> None:
    """A name that job.py does not set would end the script; one that nobody reads is a mistake."""
    script = batch_script()
    given = set(re.findall(r'"(MOONLIGHT_[A-Z_]+)"', Path(job.__file__).read_text("utf-8")))
    taken = set(re.findall(r"MOONLIGHT_[A-Z_]+", script))
    assert taken == given
