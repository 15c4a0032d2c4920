"""The examples of README and docs/library.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moonlight_core import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cluster(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What ``from_config`` finds: a Slurm in memory on which every desktop is ready at once."""
    submit = gateway.submit

    def submit_and_start(spec: object) -> int:
        job_id = submit(spec)  # type: ignore[arg-type]
        gateway.start(job_id, "viz1")
        gateway.report(job_id, '{"phase":"ready","reason":"The desktop is ready."}')
        return job_id

    monkeypatch.setattr(gateway, "submit", submit_and_start)
    made = SessionManager(
        make_settings(), store, gateway, service_secret=secret, resolve_user=resolve_user
    )
    monkeypatch.setattr(SessionManager, "from_config", lambda: made)


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_first_example(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Five lines from nothing to an address."""
    code = re.findall(r"(?s)```python\n(.*?)```", (ROOT / page).read_text())[0]
    assert len(code.splitlines()) == 5
    exec(compile(code, page, "exec"), {})  # noqa: S102 - that is what a reader does with it
    assert capsys.readouterr().out == "viz1:47989\n"
