"""The Debian mirror is found in every form that apt's own configuration has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devcluster import mirrors

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_gives_an_entry_for_each_address() -> None:
    """Comments, sources-only and disabled stanzas do not count."""
    sources = mirrors.parse_deb822(DEB822)
    assert [s.uri for s in sources] == [
        "http://mirror.example/debian",
        "http://second.example/debian",
        "http://mirror.example/debian-security",
    ]
    assert sources[0].suites == ("bookworm", "bookworm-updates")
    assert sources[0].components == ("main", "contrib")
    assert sources[0].signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_a_key_inside_a_stanza_is_no_path() -> None:
    """A key may stand in the file itself, over many indented lines."""
    text = (
        "Types: deb\nURIs: http://m.example/debian\nSuites: sid\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )
    (source,) = mirrors.parse_deb822(text)
    assert source.signed_by == ""


def test_one_line_entries_with_and_without_options() -> None:
    """The old format."""
    text = (
        "# deb http://off.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg trusted=yes] https://m.example/debian trixie main contrib\n"
        "deb-src http://m.example/debian trixie main\n"
        "deb http://n.example/debian/ stable main\n"
        "deb broken\n"
    )
    first, second = mirrors.parse_list(text)
    assert first == mirrors.Source(
        "https://m.example/debian", ("trixie",), ("main", "contrib"), "/k.gpg", trusted=True
    )
    assert second.uri == "http://n.example/debian/"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            (
                "deb http://browser.example/linux/chrome/deb/ stable main\n"
                "deb http://m.example/debian bookworm main"
            ),
            "http://m.example/debian",
        ),
        (
            (
                "deb http://m.example/debian-security bookworm-security main\n"
                "deb http://m.example/debian bookworm-updates main\n"
                "deb http://m.example/pub/debian/ bookworm main"
            ),
            "http://m.example/pub/debian/",
        ),
        (
            (
                "deb http://x.example/repos/apt bookworm main\n"
                "deb http://s.example/archive/debian/20250520T000000Z trixie main"
            ),
            "http://s.example/archive/debian/20250520T000000Z",
        ),
        ("deb http://x.example/linux/debian bookworm stable", None),
        ("deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main", None),
        ("", None),
    ],
)
def test_the_archive_is_debians_own(lines: str, expected: str | None) -> None:
    """Third parties, security archives and what is not reached over HTTP are passed over."""
    found = mirrors.debian_archive(mirrors.parse_list(lines))
    assert (found.uri if found else None) == expected


def test_a_mirror_file_names_the_mirror(tmp_path: Path) -> None:
    """Debian's cloud images say mirror+file:/etc/apt/mirrors/debian.list."""
    listed = tmp_path / "debian.list"
    listed.write_text("# first\nhttps://m.example/debian\tpriority:1\nhttps://n.example/debian\n")
    source = mirrors.Source(f"mirror+file:{listed}", ("bookworm",), ("main",))
    assert mirrors.resolve_mirror_file(source).uri == "https://m.example/debian"


def test_all_files_are_read_in_apts_order(tmp_path: Path) -> None:
    """Other suffixes do not count, as with apt."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian sid main\n")
    (tmp_path / "sources.list.d/b.list").write_text("deb http://b.example/debian sid main\n")
    (tmp_path / "sources.list.d/c.sources.disabled").write_text(DEB822)
    (tmp_path / "sources.list.d/d.sources").write_text(DEB822)
    uris = [s.uri for s in mirrors.read_sources(tmp_path)]
    assert uris[:3] == [
        "http://a.example/debian",
        "http://b.example/debian",
        "http://mirror.example/debian",
    ]


def test_of_apts_settings_only_the_way_to_the_mirror_is_taken() -> None:
    """Proxies, certificates and dates; not this machine's hooks and folders."""
    dump = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::m.example::CaInfo "/etc/ssl/site.pem";\n'
        'Acquire::Check-Date "false";\n'
        'Acquire::http "";\n'
        'Acquire::http::Proxy-Auto-Detect "/usr/bin/find-proxy --quick";\n'
        'Dir::Cache "var/cache/apt";\n'
        'DPkg::Post-Invoke:: "rm -f /x";\n'
    )
    settings = mirrors.parse_apt_config(dump)
    assert settings == {
        "Acquire::http::Proxy": "http://proxy.example:3128",
        "Acquire::https::m.example::CaInfo": "/etc/ssl/site.pem",
        "Acquire::Check-Date": "false",
    }
    assert 'Acquire::Check-Date "false";\n' in mirrors.apt_conf(settings)
    assert mirrors.proxy_detector(dump) == ["/usr/bin/find-proxy", "--quick"]
    assert mirrors.proxy_detector("") == []
