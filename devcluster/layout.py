"""Where everything lies: one folder for all the cluster keeps, one for what dies with the boot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_DEV_DIR = "/var/lib/moonlight-dev"

#: The Debian suite of the cluster's machines: the first with Slurm 26.05.
SUITE = "forky"
#: debootstrap of an older Debian may not know SUITE; every suite from sid on is made by this
#: script.
BOOTSTRAP_SCRIPT = Path("/usr/share/debootstrap/scripts/sid")
PYSLURM_VERSION = "25.11.2"

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

BRIDGE = "mlbr0"
BRIDGE_ADDRESS = "10.213.0.1"
BRIDGE_NETWORK = "10.213.0.0/24"
SERVICE_URL = "http://127.0.0.1:8004"
#: The account that `./dev up` asks a session for.
FIRST_USER = "alice"
IMAGE_ID = "xfce4"

#: Machine wide, whatever MOONLIGHT_DEV_DIR is: one machine has one cluster.
RUN_DIR = Path("/run/moonlight-dev")


class Node(NamedTuple):
    """One machine of the cluster."""

    name: str
    address: str


class Paths:
    """The folders below MOONLIGHT_DEV_DIR."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self.state = root / "state"
        self.run = root / "run"
        self.logs = root / "logs"
        self.cluster_logs = self.logs / "cluster"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Paths:
        """Take MOONLIGHT_DEV_DIR from ``environ``, or the default."""
        return cls(Path(environ.get("MOONLIGHT_DEV_DIR") or DEFAULT_DEV_DIR).resolve())

    def make(self) -> None:
        """Make the folders that are missing, readable by all: users of the cluster pass through."""
        for folder in (
            *(self.root, self.cache, self.state, self.run, self.logs, self.cluster_logs),
            *(self.cache / "roots", self.cache / "wheels", self.cache / "images"),
            *(self.cache / "archives", self.cache / "pip", self.cache / "test"),
            *(self.run / "root", self.run / "tmp", self.run / "files"),
        ):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)


def nodes() -> list[Node]:
    """All machines of the cluster, the head first, as the scripts inside read them."""
    lines = (CHECKOUT / "devcluster/inside/nodes").read_text().splitlines()
    fields = [line.split() for line in lines if line and not line.startswith("#")]
    return [Node(name, address) for name, address, _gpus in fields]
