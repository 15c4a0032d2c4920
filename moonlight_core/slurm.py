"""The Slurm gateway: the only module that imports pyslurm.

pyslurm is imported at the first use, because its import runs ``slurm_init()``, and libslurm ends
the whole process when it finds no slurm.conf. pyslurm holds the GIL during every request: a service
that must stay awake while slurmctld is away uses ``moonlight_core.slurm_worker`` instead.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from moonlight_core import slurm_errno
from moonlight_core.errors import (
    NotPermitted,
    SlurmError,
    SlurmNotUsable,
    SlurmRefused,
    SlurmUnavailable,
    SubmitOutcomeUnknown,
    SubmitRejected,
)
from moonlight_core.gateway import COMMENT_PREFIX, FEW_JOBS
from moonlight_core.slurm_values import ended_job_of, job_of, node_of, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from moonlight_core.gateway import JobSpec, SlurmJob, SlurmNode

_log = logging.getLogger(__name__)

_HOW = (
    "pyslurm X.Y is for Slurm X.Y: on Slurm 25.11 `pip install 'pyslurm==25.11.*'` is all; "
    "docs/install.md tells how it is built for other versions (`sinfo --version` tells yours)."
)


class PyslurmGateway:
    """The real gateway, in this process."""

    def __init__(self, conf: Path) -> None:
        self._conf = conf
        self._module: Any = None

    def load(self) -> None:
        """Import pyslurm now rather than at the first call.

        Raises:
            SlurmNotUsable: when slurm.conf or pyslurm is missing.
        """
        if self._module is not None:
            return
        conf = os.environ.setdefault("SLURM_CONF", str(self._conf))
        if not os.access(conf, os.R_OK):
            raise SlurmNotUsable(
                f"{conf} is missing or cannot be read, and without it Slurm's library ends the "
                "process. Set [slurm] conf or SLURM_CONF to the cluster's slurm.conf."
            )
        try:
            import pyslurm  # noqa: PLC0415 - its import has side effects, see the module
        except ImportError as exc:
            raise SlurmNotUsable(_not_importable(exc)) from exc
        self._module = pyslurm

    @property
    def _pyslurm(self) -> Any:
        self.load()
        return self._module

    def submit(self, spec: JobSpec) -> int:
        """See ``SlurmGateway.submit``."""
        pyslurm = self._pyslurm
        description = pyslurm.JobSubmitDescription(
            name=spec.name,
            comment=spec.comment,
            admin_comment=spec.admin_comment or None,
            script=spec.script,
            environment=dict(spec.environment),
            user_id=spec.user_id,
            group_id=spec.group_id,
            working_directory=spec.working_directory,
            standard_output=spec.output,
            standard_in="/dev/null",
            partitions=[spec.partition],
            qos=spec.qos,
            account=spec.account or None,
            nodes=1,
            required_nodes=spec.node or None,
            ntasks=1,
            cpus_per_task=spec.cpus,
            memory_per_node=f"{spec.memory_mb}M",
            gres_per_node={name: count for name, count in spec.gres.items() if count} or None,
            time_limit=spec.time_limit_min,
            is_requeueable=False,
            log_files_open_mode="append",
            signal={"signal": 10, "time": s, "batch_only": True} if (s := spec.warn_s) else None,
        )
        with self._errors("submit the job", sent=SubmitOutcomeUnknown, refused=SubmitRejected):
            try:
                return int(description.submit())
            except pyslurm.RPCError as exc:
                if exc.errno != slurm_errno.ACCESS_DENIED or description.admin_comment is None:
                    raise
            # Only root and SlurmUser may set an AdminComment; who may not can submit all the same.
            description.admin_comment = None
            return int(description.submit())

    def jobs(self, job_ids: Collection[int]) -> dict[int, SlurmJob]:
        """See ``SlurmGateway.jobs``."""
        wanted = set(job_ids)
        # One job costs a request (two when it runs), all jobs one long request.
        if len(wanted) > FEW_JOBS:
            return {job.id: job_of(job) for job in self._load_all() if job.id in wanted}
        found = {}
        for job_id in wanted:
            with self._errors(f"look job {job_id} up"):
                try:
                    found[job_id] = job_of(self._pyslurm.Job.load(job_id))
                except self._pyslurm.RPCError as exc:
                    if exc.errno != slurm_errno.INVALID_JOB_ID:
                        raise
        return found

    def our_jobs(self) -> list[SlurmJob]:
        """See ``SlurmGateway.our_jobs``."""
        return [
            job_of(job)
            for job in self._load_all()
            if text(job, "comment").startswith(COMMENT_PREFIX)
            or text(job, "admin_comment").startswith(COMMENT_PREFIX)
        ]

    def _load_all(self) -> Collection[Any]:
        with self._errors("list the jobs"), _without_statistics(self._pyslurm):
            return list(self._pyslurm.Jobs.load().values())

    def set_admin_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_admin_comment``."""
        changes = self._pyslurm.JobSubmitDescription(admin_comment=text)
        with self._errors(f"write the AdminComment of job {job_id}"):
            self._pyslurm.Job(job_id).modify(changes)

    def set_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_comment``."""
        changes = self._pyslurm.JobSubmitDescription(comment=text)
        with self._errors(f"write the Comment of job {job_id}"):
            self._pyslurm.Job(job_id).modify(changes)

    def wake(self, job_id: int) -> None:
        """See ``SlurmGateway.wake``."""
        pyslurm = self._pyslurm
        with self._errors(f"wake job {job_id}"):
            try:
                pyslurm.Job(job_id).send_signal("SIGUSR2", steps="batch")
            except pyslurm.RPCError as exc:
                if exc.errno not in (slurm_errno.INVALID_JOB_ID, slurm_errno.ALREADY_DONE):
                    raise

    def cancel(self, job_id: int, *, insist: bool = False) -> None:
        """See ``SlurmGateway.cancel``."""
        pyslurm = self._pyslurm
        if insist:
            with self._errors(f"kill job {job_id}"):
                try:
                    pyslurm.Job(job_id).send_signal(signal.SIGKILL.value, steps="all")
                except pyslurm.RPCError as exc:
                    # It may be ending by now, or be where no signal comes: cancel all the same.
                    _log.info("job %d: SIGKILL was not taken: %s", job_id, exc)
        with self._errors(f"cancel job {job_id}"):
            try:
                pyslurm.Job(job_id).cancel()
            except pyslurm.RPCError as exc:
                if exc.errno in (slurm_errno.INVALID_JOB_ID, slurm_errno.ALREADY_DONE):
                    return
                # pyslurm looks at errno and not at what the request returned, so that an old errno
                # is taken for this request's: the job itself is the better witness.
                job = self.jobs([job_id]).get(job_id)
                if job is None or job.state in ("COMPLETING", "CANCELLED"):
                    return
                raise

    def ended_job(self, job_id: int) -> SlurmJob | None:
        """See ``SlurmGateway.ended_job``."""
        pyslurm = self._pyslurm
        with self._errors(f"ask slurmdbd for job {job_id}"):
            jobs = pyslurm.db.Jobs.load(pyslurm.db.JobFilter(ids=[job_id]))
        job = next((job for job in jobs.values() if job.id == job_id), None)
        return None if job is None else ended_job_of(job)

    def nodes(self, partition: str) -> list[SlurmNode]:
        """See ``SlurmGateway.nodes``."""
        pyslurm = self._pyslurm
        with self._errors(f"list the nodes of partition {partition}"):
            pyslurm.Partition.load(partition)  # a misspelt one is an error, not an empty list
            found = [
                node
                for node in pyslurm.Nodes.load().values()
                if partition in (node.partitions or ())
            ]
        return sorted(map(node_of, found), key=lambda node: node.name)

    @contextlib.contextmanager
    def _errors(
        self,
        what: str,
        *,
        sent: type[SlurmError] = SlurmUnavailable,
        refused: type[SlurmError] = SlurmRefused,
    ) -> Iterator[None]:
        """Turn what pyslurm raises into our own errors, all of it."""
        try:
            yield
        except self._pyslurm.PyslurmError as exc:
            number, words = getattr(exc, "errno", None), str(exc) or "no reason given"
            if number in slurm_errno.OTHER_VERSION:
                raise SlurmNotUsable(
                    f"slurmctld does not take the protocol of {_installed()} ({words}). {_HOW}"
                ) from exc
            if number in slurm_errno.NOT_SENT:
                raise SlurmUnavailable(
                    f"slurmctld cannot be reached to {what} ({words}). Running desktops go on; "
                    "try again in a while."
                ) from exc
            if number in slurm_errno.NO_ANSWER:
                raise sent(f"slurmctld did not answer when asked to {what} ({words}).") from exc
            if number in slurm_errno.DATABASE_AWAY:
                raise SlurmUnavailable(f"slurmdbd cannot be reached to {what} ({words}).") from exc
            if refused is SubmitRejected and number in slurm_errno.NOT_PERMITTED:
                raise NotPermitted(
                    f"Slurm refused to {what}: {words}. Ask the administrators for the right to "
                    "use the account, partition and QoS of sessions."
                ) from exc
            raise refused(f"Slurm refused to {what}: {words}.") from exc
        except (ValueError, OSError) as exc:
            raise refused(f"Slurm was not asked to {what}: {exc}.") from exc


@contextlib.contextmanager
def _without_statistics(pyslurm: Any) -> Iterator[None]:
    """Within this, pyslurm does not look for the attributes of each job's statistics.

    Each ``Job`` gets a ``JobStatistics`` whose constructor sets every attribute that ``dir()``
    finds to 0 (pyslurm/db/stats.pyx). These jobs never leave us, nobody asks for their statistics,
    and it is three quarters of what making a ``Job`` costs: 8 of 10.5 µs.

    No other thread sees it: what runs meanwhile is all C, and holds the GIL.
    """
    module = getattr(getattr(pyslurm, "db", None), "stats", None)
    find = getattr(module, "instance_to_dict", None)
    if module is None or find is None:
        yield
        return
    module.instance_to_dict = functools.partial(dict.fromkeys, ())
    try:
        yield
    finally:
        module.instance_to_dict = find


def installed_version() -> str | None:
    """The version of the pyslurm that is installed beside us, without importing it."""
    try:
        return importlib.metadata.version("pyslurm")
    except importlib.metadata.PackageNotFoundError:
        return None


def _installed() -> str:
    return f"pyslurm {installed_version() or ''}".strip()


def _not_importable(exc: ImportError) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name == "pyslurm":
        return f"pyslurm is not installed beside this program. {_HOW}"
    return (
        f"{_installed()} cannot be imported ({exc}): most often it was built for another Slurm "
        f"than the one that is here now. {_HOW}"
    )
