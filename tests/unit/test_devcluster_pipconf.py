"""pip's configuration of the host works inside the cluster."""

from __future__ import annotations

from pathlib import Path

from devcluster import pipconf


def test_later_files_and_variables_win() -> None:
    """As with pip: global, then user, then PIP_*; sections may override [global]."""
    options = pipconf.read_options(
        [
            "[global]\nindex-url = https://a.example/simple\ntimeout = 10\n",
            (
                "[global]\nextra_index_url =\n  https://b.example/simple\n  https://c.example/simple\n"
                "[install]\nindex-url = https://d.example/simple\n[list]\nformat = json\n"
            ),
            "no section at all",
        ],
        {"PIP_DEFAULT_TIMEOUT": "180", "PIP_FIND_LINKS": "", "PIP_NO_COLOR": "1", "HOME": "/"},
    )
    assert options == {
        "index-url": "https://d.example/simple",
        "extra-index-url": "https://b.example/simple https://c.example/simple",
        "timeout": "180",
    }


def test_local_indexes_are_bound_with_what_their_pages_point_at(tmp_path: Path) -> None:
    """An index names its files as ../../files: the folder above it is needed too."""
    (tmp_path / "pypi/simple").mkdir(parents=True)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    page = tmp_path / "pypi/links.html"
    page.touch()
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    settings = pipconf.for_the_cluster(
        {
            "index-url": "https://a.example/simple",
            "extra-index-url": f"file://{tmp_path}/pypi/simple file:///does/not/exist",
            "find-links": f"{wheels} {page} https://b.example/links",
            "cert": str(certificate),
            "trusted-host": "a.example",
        }
    )
    assert settings.binds == (
        (tmp_path / "pypi", "/mnt/host-packages/0"),
        (wheels, "/mnt/host-packages/1"),
    )
    assert settings.options == {
        "index-url": "https://a.example/simple",
        "extra-index-url": "file:///mnt/host-packages/0/simple",
        "find-links": (
            "/mnt/host-packages/1 /mnt/host-packages/0/links.html https://b.example/links"
        ),
        "trusted-host": "a.example",
    }
    assert settings.certificates == (certificate,)


def test_where_pip_looks() -> None:
    """Weak to strong; PIP_CONFIG_FILE=/dev/null switches all files off."""
    home = Path("/home/u")
    files = pipconf.config_files({"PIP_CONFIG_FILE": "/site/pip.conf"}, home)
    assert files == [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("/home/u/.pip/pip.conf"),
        Path("/home/u/.config/pip/pip.conf"),
        Path("/site/pip.conf"),
    ]
    assert pipconf.config_files({"PIP_CONFIG_FILE": "/dev/null"}, home) == []


def test_pip_conf_is_read_back_as_it_was() -> None:
    """What is written is what pip would read."""
    options = {"index-url": "https://a.example/simple", "timeout": "5"}
    assert pipconf.read_options([pipconf.pip_conf(options)], {}) == options
