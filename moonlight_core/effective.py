"""The settings as they are in force, each with where it comes from."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.images import Image
from moonlight_core.settings import GROUPS, Settings, config_path

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT, FILE, ENVIRONMENT = "default", "file", "environment"


@attrs.frozen(kw_only=True)
class Effective:
    """One setting in force.

    Attributes:
        name: as ``[group] name``; images are ``[images.<id>] field``.
        value: its value, of JSON's types; passwords in addresses are masked.
        default: what it would be by itself, of the same types.
        source: ``default``, ``file``, or ``environment MOONLIGHT_…``.
        help: what it is for.
    """

    name: str
    value: Any
    default: Any
    source: str
    help: str


def effective(
    path: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Path, list[Effective]]:
    """The file that is read, and every setting.

    Args:
        path: as for ``Settings.load``.
        environ: as for ``Settings.load``.

    Raises:
        SettingsError: with a sentence for every fault found.
    """
    environ = os.environ if environ is None else environ
    path = config_path(path, environ)
    settings = Settings.load(path, environ)
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    found = [
        Effective(
            name=f"[{group}] {field.name}",
            value=_plain(getattr(getattr(settings, group), field.name)),
            default=_plain(getattr(kind(), field.name)),
            source=_source(group, field.name, document, environ),
            help=field.metadata.get("help", ""),
        )
        for group, kind in GROUPS.items()
        for field in attrs.fields(kind)
    ]
    for image in settings.images.values():
        table = document.get("images", {}).get(image.id, {})
        usual = attrs.asdict(Image(id=image.id, name="", sif=image.sif), recurse=False)
        for field in attrs.fields(type(image)):
            if field.name == "id":
                continue
            found.append(
                Effective(
                    name=f"[images.{image.id}] {field.name}",
                    value=_plain(getattr(image, field.name)),
                    default=None if field.default is attrs.NOTHING else _plain(usual[field.name]),
                    source=FILE if field.name in table else DEFAULT,
                    help="",
                )
            )
    return path, found


def _source(group: str, name: str, document: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    variable = f"MOONLIGHT_{group}_{name}".upper()
    if variable in environ:
        return f"{ENVIRONMENT} {variable}"
    if group == "slurm" and name == "conf" and "SLURM_CONF" in environ:
        return f"{ENVIRONMENT} SLURM_CONF"
    return FILE if name in document.get(group, {}) else DEFAULT


def _plain(value: Any) -> Any:
    """A value of JSON's types, without the password of an address."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if attrs.has(type(value)):
        return {name: _plain(item) for name, item in attrs.asdict(value).items()}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str):
        return re.sub(r"(://[^/@\s]*:)[^/@\s]*@", r"\1***@", value)
    return value
