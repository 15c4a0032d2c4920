"""``moonlight doctor`` on the cluster: green as it is, and not when something is broken."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from desks import foreign, tcp
from on_cluster import Node, run, wait_for

from moonlight_core import Settings
from moonlight_core.doctor import Finding, Grade, Site, examine

if TYPE_CHECKING:
    from collections.abc import Iterator

GREEN, YELLOW, RED = Grade.GREEN, Grade.YELLOW, Grade.RED
SLURM_CONF = Path("/etc/slurm/slurm.conf")
# What this cluster leaves as the host has it, and the stand-in's version.
EXPECTED = re.compile(r"Redis ACL|^reserved ports here|^Sunshine in")


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The cluster's."""
    return Settings.load()


def look(settings: Settings, check: str, **site: Any) -> list[Finding]:
    """What one check says."""
    seen = Site(settings=settings, **site)
    found = [finding for _, finding in examine(seen, [check])]
    if "gateway" in seen.__dict__:
        seen.gateway.close()
    return found


def bad(findings: list[Finding]) -> list[tuple[Grade, str]]:
    """What is not green."""
    return [(f.grade, f.message) for f in findings if f.grade is not GREEN]


def slurm(settings: Settings, **changes: Any) -> Settings:
    """With other settings of [slurm]."""
    return attrs.evolve(settings, slurm=attrs.evolve(settings.slurm, **changes))


def test_a_healthy_cluster_is_green() -> None:
    """All checks by the installed command, a node included; nothing is left behind."""
    done = subprocess.run(
        ["moonlight", "doctor", "--user", "alice", "--node", "viz2", "--json"],
        check=False, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    told = json.loads(done.stdout)
    findings = told["findings"]
    surprising = [
        finding
        for finding in findings
        if finding["grade"] != "green" and not EXPECTED.search(finding["subject"])
    ]
    assert surprising == []
    assert done.returncode == 0
    assert {f["check"] for f in findings} >= {"slurmctld", "pyslurm", "qos", "redis", "node"}
    assert sum(f["subject"].startswith("viz2: ") for f in findings) > 10
    assert not list(Path("/scratch/sunshine_logs").glob("moonlight-doctor-*"))


@pytest.mark.parametrize(
    ("check", "changes", "part"),
    [
        ("partition", {"partition": "nope"}, "nope"),
        ("qos", {"qos": "nope"}, "does not exist"),
        ("qos", {"qos": "normal"}, ""),
        ("account", {"account": "nope"}, "does not exist"),
        ("gres", {"slot_gres": "nosuch"}, "every submit is refused"),
        ("gres", {"slot_gres": ""}, "does not count slots"),
    ],
)
def test_settings_that_slurm_does_not_know(
    settings: Settings, check: str, changes: dict[str, str], part: str
) -> None:
    """Each with its own words; what Slurm knows stays green."""
    found = bad(look(slurm(settings, **changes), check))
    if not part:
        assert found == []
        return
    assert len(found) == 1
    assert part in found[0][1]


def test_limits_that_do_not_fit(settings: Settings) -> None:
    """Hours beyond the partition's and the QoS's."""
    longer = attrs.evolve(settings, sessions=attrs.evolve(settings.sessions, max_hours=48))
    for check in ("partition", "qos"):
        (found,) = bad(look(longer, check))
        assert found[0] is YELLOW
        assert "48 h" in found[1]


def test_a_range_of_ports_for_fewer_sessions_than_slurm_places(settings: Settings) -> None:
    """Six by the GRES, and room for two."""
    narrow = attrs.evolve(settings, slots=attrs.evolve(settings.slots, last_port=47992))
    (found,) = bad(look(narrow, "gres"))
    assert "make 2 slots" in found[1]


def test_a_partition_that_is_down_and_one_that_refuses(settings: Settings) -> None:
    """With the command that mends it."""
    for wrong, right, part in (
        ("State=DOWN", "State=UP", "no job starts there"),
        ("AllowQos=normal", "AllowQos=ALL", "leaves out the QoS"),
        ("AllowAccounts=root", "AllowAccounts=ALL", "leaves out the account"),
    ):
        run("scontrol", "update", "PartitionName=viz", wrong)
        try:
            found = look(settings, "partition")
        finally:
            run("scontrol", "update", "PartitionName=viz", right)
        assert [grade for grade, _ in bad(found)] == [RED]
        assert part in bad(found)[0][1]
    assert bad(look(settings, "partition")) == []


def test_nodes_out_of_use(settings: Settings) -> None:
    """One is worth knowing, all are the end."""
    try:
        run("scontrol", "update", "NodeName=viz1", "State=DRAIN", "Reason=new fan")
        assert bad(look(settings, "partition")) == [(YELLOW, "Nodes out of use: viz1 (new fan).")]
        run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=new disk")
        (found,) = bad(look(settings, "partition"))
        assert found[0] is RED
    finally:
        run("scontrol", "update", "NodeName=viz1,viz2", "State=RESUME")


@contextlib.contextmanager
def slurm_conf(*lines: str, without: tuple[str, ...] = ()) -> Iterator[None]:
    """slurm.conf with other lines, for as long as it takes to look."""
    kept = SLURM_CONF.read_text()
    changed = "\n".join(line for line in kept.splitlines() if not line.startswith(without))
    SLURM_CONF.write_text(changed + "\n" + "\n".join(lines) + "\n")
    try:
        run("scontrol", "reconfigure")
        wait_for(lambda: run("scontrol", "ping", check=False), lambda text: "is UP" in text)
        yield
    finally:
        SLURM_CONF.write_text(kept)
        run("scontrol", "reconfigure")
        wait_for(lambda: run("scontrol", "ping", check=False), lambda text: "is UP" in text)
        wait_for(
            lambda: run("sinfo", "-h", "-p", "viz", "-o", "%t"), lambda t: "idle" in t or "mix" in t
        )


def test_slurm_conf_with_the_wrong_words(settings: Settings, open_path: Path) -> None:
    """extra_constraints, a prolog that has gone, and words that slurmdbd does not keep."""
    # slurmctld does not start without the file; what it does when it has gone later is worse.
    nudge = open_path / "nudge"
    nudge.write_text("#!/bin/sh\n")
    nudge.chmod(0o755)
    with slurm_conf(
        "SchedulerParameters=extra_constraints",
        f"EpilogSlurmctld={nudge}",
        without=("AccountingStoreFlags", "Epilog="),
    ):
        assert bad(look(settings, "reports"))[0][0] is RED
        assert bad(look(slurm(settings, report_field="comment"), "reports")) == []
        assert bad(look(settings, "nudges")) == []
        nudge.unlink()
        (found,) = bad(look(settings, "nudges"))
        assert f"{nudge} is missing" in found[1]
        assert bad(look(settings, "kept-words"))[0][0] is YELLOW
        assert "is not set" in look(settings, "epilog")[0].message
    assert "removes what" in look(settings, "epilog")[0].message
    for check in ("reports", "nudges", "kept-words"):
        assert bad(look(settings, check)) == []


def test_no_slurm_conf_and_no_slurmctld(settings: Settings, tmp_path: Path) -> None:
    """The end of this process would be libslurm's answer to the first."""
    missing = slurm(settings, conf=tmp_path / "none")
    (found,) = bad(look(missing, "slurm-conf", environ={}))
    assert found[0] is RED
    conf = tmp_path / "slurm.conf"
    conf.write_text(SLURM_CONF.read_text().replace("10.213.0.1)", "10.213.0.99)"))
    away = {"environ": {"SLURM_CONF": str(conf)}}
    (found,) = bad(look(settings, "slurmctld", **away))
    assert found[0] is RED


def test_an_ordinary_user_may_not_submit_for_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told who may."""
    monkeypatch.setattr(os, "geteuid", lambda: 2001)
    (found,) = bad(look(settings, "submit"))
    assert found[0] is RED
    assert "alice is neither root nor SlurmUser (slurm)" in found[1]


@pytest.fixture
def stranger() -> Iterator[None]:
    """Somebody else's program on the first base port of viz2, which has no session of ours."""
    with foreign(Node("viz2"), tcp(47989)):
        yield


@pytest.mark.usefixtures("stranger")
def test_a_node_that_is_broken(settings: Settings, nodes: dict[str, Node]) -> None:
    """No pkill, FUSE closed, a foreign port, no way there: each is a finding of its own."""
    programs = Path("/scratch/doctor-programs")
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir(mode=0o755)
    for folder in ("/usr/bin", "/usr/sbin"):
        for program in Path(folder).iterdir():
            if program.name != "pkill" and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    broken = attrs.evolve(
        slurm(settings, job_path=str(programs)),
        connect=attrs.evolve(settings.connect, hosts={"viz2": "viz2.nosuch.invalid"}),
    )
    nodes["viz2"].run("chmod", "600", "/dev/fuse")
    try:
        found = {
            f.subject: (f.grade, f.message)
            for f in look(broken, "node", user="alice", nodes=["viz2"])
            if f.grade is not GREEN
        }
    finally:
        nodes["viz2"].run("chmod", "666", "/dev/fuse")
        shutil.rmtree(programs)
    assert found["viz2: programs"][0] is RED
    assert "pkill" in found["viz2: programs"][1]
    assert found["viz2: FUSE"][0] is YELLOW
    assert "47989" in found["viz2: free ports"][1]
    assert found["viz2: the way there"][0] is RED


def test_a_directory_that_users_cannot_write(settings: Settings) -> None:
    """Seen from the head and from the node."""
    folder = settings.paths.sessions
    folder.chmod(0o755)
    try:
        head = bad(look(settings, "directories"))
        node = bad(look(settings, "node", user="alice", nodes=["viz2"]))
    finally:
        folder.chmod(0o1777)
    assert "users cannot write there" in head[0][1]
    assert any("Cannot be written" in message for _, message in node)


def test_a_user_who_may_have_no_sessions(settings: Settings) -> None:
    """Slurm's own words, and root is not taken for a user."""
    (found,) = look(settings, "node", user="dave")
    assert found.grade is RED
    assert "qos" in found.message.lower()
    (found,) = look(settings, "node", user="root")
    assert found.grade is YELLOW
