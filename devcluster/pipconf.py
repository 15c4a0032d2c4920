"""pip's configuration on this machine, made to work inside the cluster.

The host need not have pip: its files and PIP_* variables are read here. Indexes and folders of
packages on the local disk are bound read-only into the cluster, and their paths rewritten.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Options that say where packages come from and how that place is reached. Others are taste, and
#: stay outside.
LISTS = ("extra-index-url", "find-links", "trusted-host")
SINGLES = ("index-url", "no-index", "proxy", "timeout", "retries", "cert", "client-cert")
#: Sections in the order in which pip lets one override the other.
SECTIONS = ("global", "download", "install", "wheel")

TARGET = "/mnt/host-packages"


@dataclass(frozen=True)
class PipSettings:
    """Options for the cluster's pip.conf; binds are (source on the host, target inside)."""

    options: dict[str, str] = field(default_factory=dict)
    binds: tuple[tuple[Path, str], ...] = ()
    #: Files of certificates that pip trusts here; they join the cluster's bundle.
    certificates: tuple[Path, ...] = ()


def config_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Files of pip from weak to strong: global, user, then the one that PIP_CONFIG_FILE names."""
    explicit = environ.get("PIP_CONFIG_FILE")
    if explicit == "/dev/null":
        return []
    xdg_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    xdg_dirs = [Path(d) for d in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if d]
    files = [d / "pip/pip.conf" for d in reversed(xdg_dirs)]
    files += [Path("/etc/pip.conf"), home / ".pip/pip.conf", xdg_home / "pip/pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        files.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if explicit:
        files.append(Path(explicit))
    return files


def read_options(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Merge files (weak to strong) and PIP_* variables (strongest)."""
    options: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip itself would stop; for us another source may be enough
        for section in SECTIONS:
            if parser.has_section(section):
                options.update(
                    {k.replace("_", "-"): " ".join(v.split()) for k, v in parser.items(section)}
                )
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            options[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    if "default-timeout" in options:
        options["timeout"] = options["default-timeout"]
    return {name: value for name, value in options.items() if name in LISTS + SINGLES}


def for_the_cluster(options: Mapping[str, str]) -> PipSettings:
    """Rewrite local paths to where they will be bound; what does not exist is left out."""
    result: dict[str, str] = {}
    binds: dict[Path, str] = {}

    def bound(folder: Path) -> str:
        return binds.setdefault(folder, f"{TARGET}/{len(binds)}")

    def moved(value: str, *, index: bool) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"", "file"}:
            return value
        path = Path(unquote(parts.path))
        if not path.exists():
            return ""
        # The pages of an index name their files relative to it (../../files), and find-links may be
        # one page.
        folder = path.parent if (index or path.is_file()) and path.parent != Path("/") else path
        inside = Path(bound(folder), *path.relative_to(folder).parts)
        return f"file://{inside}" if parts.scheme else str(inside)

    for name, value in options.items():
        if name in {"index-url", "extra-index-url", "find-links"}:
            moves = (moved(word, index=name != "find-links") for word in value.split())
            kept = " ".join(word for word in moves if word)
            if kept:
                result[name] = kept
        elif name not in {"cert", "client-cert"}:
            result[name] = value
    certificates = tuple(Path(options[n]) for n in ("cert",) if Path(options.get(n, "")).is_file())
    return PipSettings(result, tuple(binds.items()), certificates)


def pip_conf(options: Mapping[str, str]) -> str:
    """The options as a pip.conf."""
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(options.items()))
