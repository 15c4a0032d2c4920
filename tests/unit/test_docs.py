"""What the documentation names is there: links, codes, commands, settings, checks, metrics."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from moonlight_core.cli.parser import make_parser
from moonlight_core.doctor import CHECKS
from moonlight_core.settings import GROUPS
from moonlight_http import errors

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


def test_codes_are_those_of_the_service() -> None:
    """With their status, in the table of symptoms."""
    known = {code: int(status.split()[0]) for status, code in errors.TABLE.values()}
    known |= {"not_identified": 401, "untrusted_proxy": 403}
    text = (ROOT / "docs/troubleshooting.md").read_text()
    told = re.findall(r"\*\*(\d{3}) `(\w+)`", text)
    told += re.findall(r"pairing: \*\*(\d{3}) `(\w+)`", text)
    assert len(told) > 6
    for status, code in told:
        assert known[code] == int(status), code


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


def test_contributing_is_short() -> None:
    """So that it is read."""
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 150
