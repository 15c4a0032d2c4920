"""The lock pins every dependency by hash, and the licences of all are listed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def name_of(requirement: str) -> str:
    """The normalised name of a requirement (PyPA's specification of names)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!;]", requirement, maxsplit=1)[0]).lower()


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml wants is in the lock, in a version and with hashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {name_of(r) for r in project["dependencies"]}
    wanted |= {name_of(r) for r in project["optional-dependencies"]["jwt"]}
    entries = re.split(r"\n(?=[a-z])", LOCK)[1:]
    pinned = {name_of(entry) for entry in entries}
    assert wanted <= pinned, wanted - pinned
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[0-9]", entry), entry[:60]
        assert "--hash=sha256:" in entry
    assert not re.search(r"https?://|file:|--index-url|--find-links", LOCK)


def test_every_licence_is_listed() -> None:
    """In docs/security.md."""
    table = (ROOT / "docs/security.md").read_text("utf-8").lower()
    for name in re.findall(r"(?m)^([a-z0-9-]+)==", LOCK):
        assert re.search(rf"(?m)^\| .*\b{name}\b.* \|", table), name
