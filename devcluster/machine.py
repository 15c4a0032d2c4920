"""What the cluster takes over from this machine, to reach packages as the machine does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import layout, mirrors, pipconf, store
from devcluster.errors import DevError
from devcluster.process import output_of

if TYPE_CHECKING:
    from collections.abc import Iterable

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PROXY_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Machine:
    """Settings of this machine, read once and before anything is changed."""

    archive: mirrors.Source
    apt: dict[str, str]
    pip: pipconf.PipSettings
    proxies: dict[str, str]
    certificates: str

    @property
    def mirror(self) -> str:
        """The Debian mirror's address."""
        return self.archive.uri.rstrip("/")

    def environment(self) -> dict[str, str]:
        """The environment of work inside the cluster: nothing of the caller's but the proxies."""
        return {
            "PATH": layout.ROOT_PATH,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PIP_CACHE_DIR": "/var/cache/moonlight-dev/pip",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            **self.proxies,
        }

    def write_files(self, folder: Path) -> None:
        """Lay out, below ``folder``, the files that go over the cluster's root."""
        store.remove(folder)
        shutil.copytree(layout.CHECKOUT / "devcluster/etc", folder / "etc")
        self.write_apt(folder)
        store.write(folder / "etc/pip.conf", pipconf.pip_conf(self.pip.options))
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")

    def write_apt(self, root: Path) -> None:
        """Write what apt needs to reach the mirror from ``root``."""
        store.write(root / "etc/apt/apt.conf.d/20machine", mirrors.apt_conf(self.apt))
        if self.certificates:
            store.write(root / BUNDLE.lstrip("/"), self.certificates)
        # Debian's own keys are in the root; only a key of the site's has to be brought.
        if self.archive.signed_by and "debian-archive" not in self.archive.signed_by:
            shutil.copy(self.archive.signed_by, root / "etc/apt/trusted.gpg.d/")
        for path in (Path("/etc/apt/auth.conf"), *Path("/etc/apt/auth.conf.d").glob("*.conf")):
            if path.is_file():
                target = root / "etc/apt/auth.conf.d" / path.name
                store.write(target, path.read_text(), 0o600)

    def write_binds(self, path: Path) -> None:
        """Write the read-only binds, a tab between source and target."""
        store.write(path, "".join(f"{source}\t{target}\n" for source, target in self.pip.binds))


def read(debian_mirror: str = "") -> Machine:
    """Read this machine's settings.

    Args:
        debian_mirror: Taken instead of the mirror in apt's sources.

    Raises:
        DevError: No Debian mirror is configured.
    """
    sources = [mirrors.resolve_mirror_file(s) for s in mirrors.read_sources(Path("/etc/apt"))]
    archive = mirrors.debian_archive(sources)
    if debian_mirror:
        archive = mirrors.Source(debian_mirror, (layout.SUITE,), ("main",))
    if archive is None:
        raise DevError(
            "apt's sources on this machine name no Debian archive reached over http or https.",
            "Give one: ./dev up --debian-mirror URL",
        )
    dump = output_of(["apt-config", "dump"])
    apt = mirrors.parse_apt_config(dump)
    detector = mirrors.proxy_detector(dump)
    if detector:
        proxy = output_of([*detector, archive.uri]).strip()
        if proxy and proxy != "DIRECT":
            apt.setdefault("Acquire::http::Proxy", proxy)
    authorities = [Path(v) for n, v in apt.items() if n.lower().endswith("::cainfo")]
    apt = {n: BUNDLE if n.lower().endswith("::cainfo") else v for n, v in apt.items()}
    texts = [
        path.read_text(errors="replace")
        for path in pipconf.config_files(os.environ, Path.home())
        if path.is_file()
    ]
    pip = pipconf.for_the_cluster(pipconf.read_options(texts, os.environ))
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    authorities += [Path(os.environ[name]) for name in names if os.environ.get(name)]
    return Machine(
        archive=archive,
        apt=apt,
        pip=pip,
        proxies=_proxies(),
        certificates=join_certificates([Path(BUNDLE), *pip.certificates, *authorities]),
    )


def join_certificates(files: Iterable[Path]) -> str:
    """All certificates of ``files``, each once: the cluster trusts whom this machine trusts."""
    texts = (path.read_text(errors="replace") for path in files if path.is_file())
    found = dict.fromkeys(match for text in texts for match in _CERTIFICATE.findall(text))
    return "".join(f"{certificate}\n" for certificate in found)


def wget_environment(machine: Machine) -> dict[str, str]:
    """The host's environment for debootstrap, whose wget knows nothing of apt's proxy."""
    environment = dict(os.environ)
    for scheme in ("http", "https"):
        proxy = machine.apt.get(f"Acquire::{scheme}::Proxy", "")
        if proxy and proxy != "DIRECT":
            environment.setdefault(f"{scheme}_proxy", proxy)
    return environment


def _proxies() -> dict[str, str]:
    names = [*PROXY_NAMES, *(name.upper() for name in PROXY_NAMES)]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def host_architecture() -> str:
    """Debian's name of this machine's architecture."""
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
