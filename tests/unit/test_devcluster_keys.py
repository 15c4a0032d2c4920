"""Kept things are found again exactly when nothing they were made from has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devcluster import store
from devcluster.keys import key_of

if TYPE_CHECKING:
    from pathlib import Path


def test_parts_do_not_run_into_each_other() -> None:
    """The same characters, parted elsewhere, are another key."""
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab", "c") == key_of("ab", b"c")


def test_a_tree_counts_with_names_contents_and_executable_bits(tmp_path: Path) -> None:
    """And not with what Python compiled in between."""
    script = tmp_path / "inside" / "script"
    script.parent.mkdir()
    script.write_text("one")
    first = key_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").write_text("compiled")
    assert key_of(tmp_path) == first
    script.chmod(0o755)
    second = key_of(tmp_path)
    assert second != first
    script.write_text("two")
    third = key_of(tmp_path)
    assert third != second
    script.rename(tmp_path / "elsewhere")
    assert key_of(tmp_path) not in {first, second, third}


def test_what_is_interrupted_is_not_kept(tmp_path: Path) -> None:
    """Neither under its final name nor, after the next try, under any other."""

    def interrupted(part: Path) -> None:
        (part / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.make(tmp_path, "key", interrupted)
    assert store.kept(tmp_path, "key") is None
    assert list(tmp_path.iterdir()) == []

    killed = tmp_path / f"{store.PART}key-1"
    killed.mkdir()
    store.make(tmp_path, "key", lambda part: (part / "whole").touch())
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key/whole").exists()


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    """A secret is never readable in between."""
    store.write(tmp_path / "new" / "secret", "text", 0o600)
    assert (tmp_path / "new/secret").read_text() == "text"
    assert (tmp_path / "new/secret").stat().st_mode & 0o777 == 0o600
