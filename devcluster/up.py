"""``./dev up``: from whatever is there to a running service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devcluster import head, image, layout, machine, preflight, rootfs, service, store
from devcluster.crew import together
from devcluster.errors import DevError
from devcluster.holder import Holder, heads, require_ours
from devcluster.keys import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.process import Runner
    from devcluster.progress import Progress


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    debian_mirror: str = ""
    sunshine_deb: Path | None = None


class Up:
    """One run of ``./dev up``; every step looks first whether its work is done already."""

    def __init__(
        self, paths: layout.Paths, options: Options, progress: Progress, runner: Runner
    ) -> None:
        self._paths = paths
        self._options = options
        self._progress = progress
        self._runner = runner
        self._started_head = False

    def run(self) -> Holder:
        """Bring everything up; the caller holds the lock.

        Raises:
            DevError: Something prevents it, or a step failed.
        """
        host = self._checks()
        self._paths.make()
        self._host_packages()
        root = self._root(host)
        holder = self._head(host, root)
        inside = head.Inside(holder, host, self._runner)
        deb = self._options.sunshine_deb
        together(
            self._runner,
            lambda: self._slurm(inside),
            lambda: image.provide(self._paths, host, inside, self._progress, deb),
            lambda: service.provide(self._paths, root, inside, self._progress),
        )
        with self._progress.step("service") as step:
            if self._started_head:
                # Sessions of the time before died with it; the service shall not show them alive.
                service.reconcile(inside, step.log)
            inside.service("start", "moonlight", log=step.log)
            step.result = f"answers on {layout.SERVICE_URL}"
        return holder

    def undo_half(self) -> None:
        """After an interruption: stop a head that this run started and did not finish."""
        if self._started_head:
            self._runner.reset()
            head.clear_leftovers()

    def _checks(self) -> machine.Machine:
        """Find every obstacle that can be known, before anything is changed."""
        host = machine.read(self._options.debian_mirror)
        deb = self._options.sunshine_deb
        if deb and not deb.is_file():
            raise DevError(f"There is no file {deb}.", "--sunshine-deb takes a Debian package.")
        holder = Holder.load()
        require_ours(holder)
        if not holder:
            preflight.check_kernel()
            kept = store.kept(self._paths.cache / "roots", rootfs.root_key(host)) is not None
            preflight.check_space(self._paths, all_kept=kept)
            # Listeners of a half dead cluster of ours are no obstacle: it is removed before the new
            # one starts.
            if not heads():
                preflight.check_network()
        return host

    def _host_packages(self) -> None:
        missing = rootfs.missing_packages()
        if missing:
            with self._progress.step("host packages") as step:
                rootfs.install_packages(missing, self._runner, step.log)
                step.result = f"installed {', '.join(missing)}"

    def _root(self, host: machine.Machine) -> Path:
        root = store.kept(self._paths.cache / "roots", rootfs.root_key(host))
        if root is None:
            with self._progress.step("root file system") as step:
                root = rootfs.make_root(self._paths, host, self._runner, step.log)
        store.prune(root.parent, root.name)
        return root

    def _head(self, host: machine.Machine, root: Path) -> Holder:
        devcluster = layout.CHECKOUT / "devcluster"
        # The way to packages (proxies, pip) is not part of it: another shell's environment must
        # not restart a cluster that has sessions.
        key = key_of(str(root), devcluster / "inside", devcluster / "etc")
        holder = Holder.load()
        if holder and holder.key == key and holder.dev_dir == str(self._paths.root):
            return holder
        if holder:
            with self._progress.step("stop the old cluster") as step:
                head.stop(holder, step.log)
                step.result = "done, because what it is made of has changed"
        with self._progress.step("head machine") as step:
            self._started_head = True
            return head.start(self._paths, host, root, key, step.log)

    def _slurm(self, inside: head.Inside) -> None:
        with self._progress.step("nodes, Slurm and Redis") as step:
            inside.service("start", "cluster", log=step.log)
        script = layout.CHECKOUT / "devcluster/inside/accounting"
        done = self._paths.state / "mysql" / f"accounts-{key_of(script)}"
        if not done.exists():
            with self._progress.step("accounts") as step:
                inside.work(
                    ["/usr/local/lib/moonlight-dev/accounting"],
                    step.log,
                    what="Making accounts, users and QoS",
                    hint="./dev logs slurmdbd may say more.",
                )
                done.touch()
