"""The Python of README and docs/library.md, run as it stands."""

from __future__ import annotations

import doctest
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from desktop import ask, fingerprint
from unit.standin_support import Launcher, free_base_port

from moonlight_core import manager, pairing, reconcile
from moonlight_core.settings import ConnectSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from moonlight_core.gateway import JobSpec
    from moonlight_core.secret import Secret
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

ROOT = Path(__file__).parents[2]


@pytest.fixture
def port(
    redis_url: str,
    redis_client: redis.Redis,
    image_dir: Path,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[int]:
    """A site: a configuration file, its Redis, a Slurm on which every desktop is ready at once.

    On viz1 is a desktop that can be spoken to, with a client before it that shows the PIN 0214; its
    base port, which is returned, is one that is free on this machine.
    """
    base = free_base_port()
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text(secret.reveal())
    (tmp_path / "moonlight.toml").write_text(
        f'[redis]\nurl = "{redis_url}"\n[service]\nsecret_file = "{tmp_path}/secret"\n'
        f'[paths]\nimages = "{image_dir}"\n[slots]\nfirst_port = {base}\nlast_port = {base}\n'
    )
    monkeypatch.setenv("MOONLIGHT_CONFIG", str(tmp_path / "moonlight.toml"))
    monkeypatch.setattr(manager, "PyslurmGateway", lambda _conf: gateway)
    monkeypatch.setattr(manager, "find_user", resolve_user)
    monkeypatch.setattr(reconcile, "name_of", {2001: "alice", 2002: "bob"}.get)
    monkeypatch.setattr(ConnectSettings, "own_host_of", lambda _settings, _node: "127.0.0.1")
    monkeypatch.setattr(pairing, "_ASK_EVERY_S", 0.02)
    shutil.copytree(certificates, tmp_path / "keys")
    (tmp_path / "client").mkdir()
    for name in ("client.key", "client.crt"):
        shutil.copy(certificates / name, tmp_path / "client")
    launcher = Launcher(tmp_path, tmp_path / "keys")
    nodes = itertools.chain(["viz1"], itertools.repeat("viz2"))
    submit = gateway.submit

    def submit_and_start(spec: JobSpec) -> int:
        job_id = submit(spec)
        node, ready = next(nodes), {"phase": "ready"}
        if node == "viz1":
            credentials = spec.environment["MOONLIGHT_CREDENTIALS"]
            (tmp_path / "credentials.json").write_text(credentials)
            desktop = launcher.start(port=base, credentials=False)
            ask(desktop.client(), "0214")
            ready["cert"] = fingerprint(tmp_path / "keys" / "cert.pem")
        gateway.start(job_id, node)
        gateway.report(job_id, json.dumps(ready))
        return job_id

    monkeypatch.setattr(gateway, "submit", submit_and_start)
    assert redis_client.dbsize() == 0
    yield base
    launcher.stop_all()


def blocks(page: str, port: int) -> list[str]:
    """A page's Python, with the port of this machine for the one that is written there."""
    text = (ROOT / page).read_text("utf-8")
    text = text.replace("47989", str(port)).replace("47990", str(port + 1))
    return re.findall(r"(?s)```python\n(.*?)```", text)


def test_readmes_example(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Five lines from nothing to an address."""
    (code,) = blocks("README.md", port)
    assert len(code.splitlines()) == 5
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - that is what a reader does with it
    assert capsys.readouterr().out == f"viz1:{port}\n"


def test_the_page_about_the_library(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Its examples give what it says, one after the other."""
    first, *rest = blocks("docs/library.md", port)
    names: dict[str, object] = {}
    exec(compile(first, "docs/library.md", "exec"), names)  # noqa: S102 - as above
    assert capsys.readouterr().out == f"viz1:{port}\n"
    parser, told = doctest.DocTestParser(), []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    tried = 0
    for number, block in enumerate(rest, start=2):
        test = parser.get_doctest(block, names, f"block {number}", "docs/library.md", 0)
        tried += runner.run(test, out=told.append, clear_globs=False).attempted
        names = test.globs
    assert told == [], "".join(told)
    assert tried > 30
