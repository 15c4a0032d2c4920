"""The Debian mirror and the apt settings of this machine.

The cluster's packages come from where the machine's own come from; no host name stands in any file
of ours.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Suite names under which Debian itself is published.
SUITES = frozenset(
    [
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "oldoldstable",
    ]
)

_SETTING = re.compile(r'^(?P<name>[A-Za-z0-9_:./-]+) "(?P<value>.*)";$')
#: The settings that say how to reach a mirror; others are about this machine's packages, not the
#: cluster's.
_TAKEN = re.compile(
    r"^Acquire::("
    r"(http|https)::(.*::)?(Proxy|Timeout|Verify-Peer|Verify-Host|CaInfo|SslCert|SslKey|No-Cache|Pipeline-Depth)"
    r"|Check-Date|Check-Valid-Until|Retries|ForceIPv4|ForceIPv6)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: where, what, and how its signature is checked."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False


def parse_list(text: str) -> list[Source]:
    """Read one-line entries: ``deb [option=value ...] URI suite component ...``."""
    sources = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>.*)", line)
        if not match:
            continue
        words = match["rest"].split()
        if len(words) < 2:  # noqa: PLR2004  # a URI and a suite
            continue
        options = dict(
            word.split("=", 1) for word in (match["options"] or "").split() if "=" in word
        )
        sources.append(
            Source(
                uri=words[0],
                suites=(words[1],),
                components=tuple(words[2:]),
                signed_by=options.get("signed-by", ""),
                trusted=options.get("trusted", "no") == "yes",
            )
        )
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Read stanzas of ``.sources`` files; a URI each becomes an entry of its own."""
    sources: list[Source] = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        signed_by = fields.get("signed-by", "")
        sources.extend(
            Source(
                uri=uri,
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                # A key may stand in the file itself; only a path can be handed on.
                signed_by=signed_by if signed_by.startswith("/") else "",
                trusted=fields.get("trusted", "no").lower() == "yes",
            )
            for uri in fields.get("uris", "").split()
        )
    return sources


def read_sources(etc_apt: Path) -> list[Source]:
    """All enabled entries of ``etc_apt``, in apt's order of files."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    sources: list[Source] = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            sources += parse_list(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            sources += parse_deb822(path.read_text(errors="replace"))
    return sources


def resolve_mirror_file(source: Source) -> Source:
    """Replace ``mirror+file:/path`` (Debian's cloud images) by the first mirror in that file."""
    if not source.uri.startswith("mirror+file:"):
        return source
    path = Path(urlsplit(source.uri.removeprefix("mirror+")).path)
    for line in path.read_text().splitlines() if path.is_file() else ():
        words = line.split("#", 1)[0].split()
        if words:
            return Source(
                words[0], source.suites, source.components, source.signed_by, source.trusted
            )
    return source


def debian_archive(sources: Iterable[Source]) -> Source | None:
    """The first entry that is Debian's own archive, reached over HTTP.

    Third parties use Debian's suite names too, so a path that ends in ``/debian`` wins over one
    that does not. Security and updates archives carry a suffix in their suite and are no
    candidates.
    """
    candidates = [
        source
        for source in sources
        if urlsplit(source.uri).scheme in {"http", "https"}
        and "main" in source.components
        and SUITES.intersection(source.suites)
    ]
    named = [s for s in candidates if "debian" in urlsplit(s.uri).path.rstrip("/").split("/")[-1:]]
    # A snapshot's path ends in a date: .../archive/debian/20250520T000000Z
    dated = [s for s in candidates if "/debian/" in f"{urlsplit(s.uri).path}/"]
    return next(iter(named + dated + candidates), None)


def parse_apt_config(dump: str) -> dict[str, str]:
    """What of ``apt-config dump`` says how a mirror is reached, by setting name."""
    settings = {}
    for line in dump.splitlines():
        match = _SETTING.match(line.strip())
        if match and _TAKEN.match(match["name"]) and match["value"]:
            settings[match["name"]] = match["value"]
    return settings


def proxy_detector(dump: str) -> list[str]:
    """The program that apt asks for a proxy, as words; empty if there is none."""
    match = re.search(
        r'^Acquire::http::Proxy-?Auto-?Detect "(.+)";$', dump, re.MULTILINE | re.IGNORECASE
    )
    return shlex.split(match[1]) if match else []


def apt_conf(settings: dict[str, str]) -> str:
    """The settings as a file for apt.conf.d."""
    return "".join(f'{name} "{value}";\n' for name, value in sorted(settings.items()))
