"""Everything as oneself: sessions without root, for the one account that the service runs as.

Only root and SlurmUser may write an AdminComment, so mark and lease travel in Comment. Its owner
can write that too, and here this is nobody else: jobs of other accounts are never looked at.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.errors import UserNotAllowed
from moonlight_core.users import find_user

if TYPE_CHECKING:
    from collections.abc import Collection

    from moonlight_core.gateway import JobSpec, SlurmGateway, SlurmJob
    from moonlight_core.users import User

LEASE_FIELD = "Comment"
"""Where a job finds its lease."""


def own_account(name: str, *, first_uid: int) -> User:
    """The account of that name, if it is our own; see ``moonlight_core.users.find_user``.

    Raises:
        UserNotAllowed: it is somebody else's, or may not have sessions.
    """
    user = find_user(name, first_uid=first_uid)
    if user.uid != os.geteuid():
        raise UserNotAllowed(
            f"This service runs for one account alone, and {name} is another one "
            "([service] single_user)."
        )
    return user


class OwnGateway:
    """A ``SlurmGateway`` that needs no rights but a user's own."""

    def __init__(self, gateway: SlurmGateway) -> None:
        self._gateway = gateway
        self._uid = os.geteuid()

    def submit(self, spec: JobSpec) -> int:
        """See ``SlurmGateway.submit``."""
        own = attrs.evolve(spec, comment=spec.admin_comment or spec.comment, admin_comment="")
        return self._gateway.submit(own)

    def jobs(self, job_ids: Collection[int]) -> dict[int, SlurmJob]:
        """See ``SlurmGateway.jobs``."""
        return {job_id: self._ours(job) for job_id, job in self._gateway.jobs(job_ids).items()}

    def our_jobs(self) -> list[SlurmJob]:
        """See ``SlurmGateway.our_jobs``."""
        return [self._ours(job) for job in self._gateway.our_jobs() if job.user_id == self._uid]

    def set_admin_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_admin_comment``."""
        self._gateway.set_comment(job_id, text)

    def set_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_comment``."""
        self._gateway.set_comment(job_id, text)

    def wake(self, job_id: int) -> None:
        """See ``SlurmGateway.wake``."""
        self._gateway.wake(job_id)

    def cancel(self, job_id: int, *, insist: bool = False) -> None:
        """See ``SlurmGateway.cancel``."""
        self._gateway.cancel(job_id, insist=insist)

    def ended_job(self, job_id: int) -> SlurmJob | None:
        """See ``SlurmGateway.ended_job``."""
        job = self._gateway.ended_job(job_id)
        return self._ours(job) if job else None

    def __getattr__(self, name: str) -> Any:
        """What else the gateway can do goes without rights."""
        return getattr(self._gateway, name)

    def _ours(self, job: SlurmJob) -> SlurmJob:
        mark = job.comment if job.user_id == self._uid else ""
        return attrs.evolve(job, comment="", admin_comment=mark)
