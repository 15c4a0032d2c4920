"""What the documentation names is there: links, codes, commands, settings, checks, metrics."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from moonlight_core import Settings
from moonlight_core.cli.parser import make_parser
from moonlight_core.doctor import CHECKS
from moonlight_core.ending import CANCELLING
from moonlight_core.explain import HELD
from moonlight_core.models import Status
from moonlight_core.progress import PERCENT
from moonlight_core.settings import GROUPS
from moonlight_core.shipped import batch_script
from moonlight_core.states import STAGES
from moonlight_http import errors
from moonlight_http.description import describe

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
OPERATION = [ROOT / f"docs/{name}.md" for name in ("install", "operating", "troubleshooting")]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as web front ends of git make them."""
    found = set()
    for title in re.findall(r"(?m)^#+ (.+)$", text):
        words = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Within the project: files and headings."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def commands() -> set[str]:
    """What ``moonlight`` can do."""
    (subparsers,) = [a for a in make_parser()._actions if hasattr(a, "choices") and a.choices]
    return set(subparsers.choices or ())


@pytest.mark.parametrize("page", [*OPERATION, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_are_there(page: Path) -> None:
    """Every ``moonlight X`` in code is a command, with checks of the doctor that exist."""
    text = page.read_text()
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"(?m)^(?:# )?(moonlight .+)$", text)
    used = [match for line in code for match in re.findall(r"(?:^|/)moonlight ([a-z]+)", line)]
    assert used or page.name == "README.md"
    assert set(used) <= commands(), page
    assert set(re.findall(r"--only ([a-z-]+)", text)) <= set(CHECKS)


def test_deploy_uses_commands_that_there_are() -> None:
    """In units and cron tables."""
    for file in [*(ROOT / "deploy/systemd").iterdir(), ROOT / "deploy/cron/moonlight"]:
        for line in file.read_text().splitlines():
            if not line.startswith("#"):
                used = re.findall(r"(?:bin/|root  |&& )moonlight ([a-z]+)", line)
                assert set(used) <= commands(), (file, line)


def codes() -> dict[str, int]:
    """Every word that an error of the service can have, with its status, as it describes them."""
    known = {code: int(status.split()[0]) for status, code in errors.TABLE.values()}
    paths = describe(Settings.from_mapping({}, {}), "/api")["paths"]
    for responses in (
        call["responses"]
        for item in paths.values()
        for call in item.values()
        if "responses" in call
    ):
        for status in responses.keys() - {"200", "201", "202"}:
            words = responses[status]["description"].split(", ")
            known |= dict.fromkeys(words, int(status))
    return known


def test_codes_are_those_of_the_service() -> None:
    """With their status, in the table of symptoms."""
    known = codes()
    told = re.findall(r"\*\*(\d{3}) `(\w+)`", (ROOT / "docs/troubleshooting.md").read_text())
    assert len(told) >= 20
    for status, code in told:
        assert known[code] == int(status), code


def test_every_code_is_explained() -> None:
    """The page of the API has them all."""
    told = set(re.findall(r"`([a-z_]+)`", table("api.md", "Errors")))
    words = ("internal_error", "bad_request")
    assert set(codes()) - told - set(words) == set()


@pytest.mark.parametrize("page", OPERATION, ids=lambda page: page.name)
def test_settings_are_there(page: Path) -> None:
    """``[group] name`` as the configuration has them."""
    for group, names in re.findall(
        r"`\[(\w+)\] ([a-z_]+(?:`(?:,| and) `[a-z_]+)*)", page.read_text()
    ):
        fields = {field.name for field in attrs.fields(GROUPS[group])}
        assert re.split(r"`(?:,| and) `", names)[0] in fields, (group, names)


def test_metrics_are_those_of_the_service() -> None:
    """The table has all of them and no other."""
    told = set(re.findall(r"`(moonlight_[a-z_]+)`", (ROOT / "docs/operating.md").read_text()))
    told -= {name for name in told if name.startswith(("moonlight_reap", "moonlight_8004"))}
    source = (ROOT / "moonlight_http/metrics.py").read_text()
    made = set(re.findall(r'"(moonlight_[a-z_]+)"', source)) - {"moonlight_build_info"}
    made -= {"moonlight_errors", "moonlight_reconcile_changes"}
    assert told == made | {"moonlight_errors_total", "moonlight_reconcile_changes_total"}


def phases() -> set[str]:
    """Every phase that a record can have, as the code spells them."""
    spoken = set(re.findall(r'^\s*(?:report|say "phase) ([a-z_]+)', batch_script(), re.MULTILINE))
    written = {CANCELLING, HELD}
    for module in (ROOT / "moonlight_core").glob("*.py"):
        written |= set(
            re.findall(r'(?:"phase": |\bphase(?:: str)? ?= ?)"([a-z_]+)"', module.read_text())
        )
    # The script's last word of a failure is the record's "ending".
    return (spoken - {"failed"}) | written | set(PERCENT)


def table(page: str, title: str) -> str:
    """The first table below a heading."""
    text = (ROOT / "docs" / page).read_text().split(f"\n## {title}\n")[1]
    return re.findall(r"(?m)(?:^\|.*\n)+", text)[0]


def test_every_phase_is_explained() -> None:
    """On the page of a session's life, and as a word of the API."""
    cells = [row.split("|")[2] for row in table("sessions.md", "States").splitlines()[2:]]
    assert set(re.findall(r"`([a-z_]+)`", " ".join(cells))) == phases()
    (row,) = re.findall(r"(?m)^\| `phase` \|.*$", (ROOT / "docs/api.md").read_text())
    assert set(re.findall(r"`([a-z_]+)`", row)) - {"phase"} == phases()


def test_the_diagram_has_every_state() -> None:
    """Each is entered, and left."""
    text = (ROOT / "docs/sessions.md").read_text()
    (diagram,) = re.findall(r"(?s)```mermaid\nstateDiagram-v2\n(.*?)```", text)
    moves = re.findall(r"(?m)^    (\S+) --> (\w+|\[\*\]): .+$", diagram)
    assert len(moves) == len(diagram.splitlines())
    for side in (0, 1):
        assert {move[side] for move in moves} == {"[*]", *Status}


def test_every_failure_is_explained() -> None:
    """The page has the words of ``error_code`` that the code has, and no other."""
    rows = table("sessions.md", "Why one fails").splitlines()[2:]
    told = set(re.findall(r"`([a-z_]+)`", " ".join(row.split("|")[1] for row in rows)))
    script = batch_script()
    made = set(re.findall(r"\b(?:fail|failed [a-z]+|not_ready) ([a-z]+_[a-z_]+)", script))
    assert made <= told
    source = script + "".join(p.read_text() for p in (ROOT / "moonlight_core").glob("*.py"))
    text = (ROOT / "docs/troubleshooting.md").read_text()
    assert {code for code in made if f"`{code}`" not in text} == set()
    states = {state.lower() for state in STAGES}
    assert [code for code in told - states if not re.search(rf"\b{code}\b", source)] == []


def test_contributing_is_short() -> None:
    """So that it is read."""
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 150
