"""What a person is told about a job: why it waits, and how it ended.

Slurm's own words are for administrators. Here each becomes a sentence that whoever asked for the
session can act on; a word that is not known is passed on as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from moonlight_core.errors import SlurmError
from moonlight_core.models import Session, Status
from moonlight_core.states import REASONS, Stage, stage_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.bus import Report
    from moonlight_core.gateway import SlurmGateway, SlurmJob, SlurmNode

HELD = "held"
"""The phase of a session that starts only when somebody lets it."""

# slurm_job_state_reason_string() and what slurmctld writes over it; the first that fits counts.
_WAITS = (
    (r"None|", "Slurm has not looked at it yet."),
    (r"Priority", "others are before it."),
    (r"Resources", "every node that fits is taken; it starts when one is free."),
    (r"BeginTime", "it may not start yet."),
    (r"JobHeldUser", "you or somebody for you held it; it starts after scontrol release."),
    (r"JobHeldAdmin", "an administrator holds it; ask them to release it."),
    (r"JobHoldMaxRequeue|.*held.*", "Slurm holds it; ask the administrators to release it."),
    (r"PartitionDown|PartitionInactive", "the partition is closed; it starts when it is open."),
    (
        r"ReqNodeNotAvail.*|NodeDown|Nodes required for job.*|Reservation.*",
        "nodes that fit are down, drained or reserved; it starts when one is back.",
    ),
    (
        r"(QOS|Assoc)\w*(PerUser|User)\w*",
        "you use as much as you may at a time; it starts when another job of yours has ended.",
    ),
    (r"(QOS|Assoc)(Grp|Max|\w*Limit|Job)\w*", "a limit of the account or QoS is reached."),
    (
        r"InvalidQOS|QOSNotAllowed|InvalidAccount|AccountNotAllowed",
        "you may no longer use the QoS or account of sessions. End it and ask the administrators.",
    ),
    (
        r"PartitionNodeLimit|PartitionTimeLimit|BadConstraints",
        "it asks for more than the partition allows. End it and ask for less.",
    ),
)
_HOLDS = re.compile(r"JobHeldUser|JobHeldAdmin|JobHoldMaxRequeue|.*held.*")

_SIGKILL = 9
# slurmstepd ends with this signal when it cannot open the job's output (SIG_UME is another, 127).
_NO_OUTPUT = 53

SUSPENDED = (
    "Slurm has suspended the session: its desktop stands still, and goes on when an administrator "
    "resumes the job."
)


def preempting(job: SlurmJob) -> str | None:
    """The sentence of a running job that Slurm is about to end for another one, or None."""
    if job.preempted_at is None:
        return None
    at = f" at {job.expires_at:%H:%M:%S} UTC" if job.expires_at else " soon"
    return (
        f"Slurm needs the node for a job of higher priority and ends the session{at}: save your "
        "work."
    )


def why_it_waits(job: SlurmJob) -> tuple[str, str]:
    """The phase and the sentence of a job in the queue."""
    word = job.state_reason
    meaning = next((text for pattern, text in _WAITS if re.fullmatch(pattern, word)), None)
    phase = HELD if _HOLDS.fullmatch(word) else "queued"
    what = "Put back into the queue by Slurm" if job.restart_count else "Waiting in the queue"
    shown = f" ({word})" if word not in ("", "None") else ""
    return phase, f"{what}{shown}: {meaning}" if meaning else f"{what}{shown}."


@attrs.frozen(kw_only=True)
class Ending:
    """How a session ended.

    Attributes:
        status: ``stopped`` or ``failed``.
        reason: the sentence for people.
        exit_code: as a shell counts it; None where nobody knows.
    """

    status: Status
    reason: str
    exit_code: int | None


def how_it_ended(
    session: Session,
    job: SlurmJob,
    report: Report | None,
    node_of: Callable[[str], SlurmNode | None],
    *,
    asked_to: bool,
) -> Ending:
    """What became of a session, by all that is known about its job.

    Args:
        session: the session as it was.
        job: the job, which has ended.
        report: the last word of this start's script.
        node_of: asks slurmctld for a node; None where it does not tell.
        asked_to: whether we cancelled the job because somebody wanted the session to end.
    """
    status = Status.FAILED if stage_of(job.state) is Stage.FAILED else Status.STOPPED
    reason = REASONS.get(job.state, f"The job ended as {job.state}.")
    # As a shell counts the end by a signal.
    exit_code = 128 + job.exit_signal if job.exit_signal else job.exit_code
    last_word = report.reason if report and report.phase in ("failed", "ending") else None
    if job.state == "CANCELLED":
        failure = _why_cancelled(job, report, node_of, asked_to=asked_to)
        status = Status.FAILED if failure else status
        reason = failure or ("Ended on request." if asked_to else last_word or reason)
    elif job.state == "NODE_FAIL":
        # Slurm invents one: the script had no chance to tell.
        exit_code = None
        reason = _node_failed(session.slurm_node or job.node, node_of)
    elif job.state == "OUT_OF_MEMORY":
        reason = " ".join(filter(None, (last_word, _memory(session))))
    elif job.state in ("FAILED", "COMPLETED") and last_word:
        reason = last_word
    elif job.state == "FAILED":
        reason = _failed_silently(session, job)
    elif status is Status.FAILED and job.state_reason not in ("", "None"):
        reason = f"{reason} Slurm says: {job.state_reason}."
    if session.error is not None:
        status, reason = Status.FAILED, session.error
    return Ending(status=status, reason=reason, exit_code=exit_code)


def node_asker(gateway: SlurmGateway, partition: str) -> Callable[[str], SlurmNode | None]:
    """A function that asks slurmctld for a node of the partition; None if it does not tell."""

    def node_of(name: str) -> SlurmNode | None:
        try:
            nodes = gateway.nodes(partition)
        except SlurmError:
            return None
        return next((node for node in nodes if node.name == name), None)

    return node_of


def _memory(session: Session) -> str:
    return (
        f"The session used more than the {session.memory_gb} GiB of memory it asked for. "
        "Ask for more next time."
    )


def _node_failed(name: str | None, node_of: Callable[[str], SlurmNode | None]) -> str:
    if name is None:
        return "The node failed. Ask for another session."
    node = node_of(name)
    if node is None or node.usable:
        return f"The node {name} failed while the session ran. Ask for another session."
    why = f" ({node.reason})" if node.reason else ""
    return f"The node {name} went down while the session ran{why}. Ask for another session."


def _why_cancelled(
    job: SlurmJob,
    report: Report | None,
    node_of: Callable[[str], SlurmNode | None],
    *,
    asked_to: bool,
) -> str | None:
    """The failure behind a cancelled job, if there is one."""
    if report is not None:
        # The session had failed, and its script did not come to its end.
        return report.reason if report.phase == "failed" else None
    return _never_launched(job.node, node_of) if job.node and not asked_to else None


def _never_launched(name: str, node_of: Callable[[str], SlurmNode | None]) -> str | None:
    """Why a job had a node and its script never began; None if it was cancelled just then.

    A prolog that fails leaves the job CANCELLED, as scancel does, and the node drained.
    """
    node = node_of(name)
    if node is None or node.usable or not re.search(r"prolog|launch", node.reason, re.IGNORECASE):
        return None
    return (
        f"Slurm could not launch the session on the node {name} ({node.reason}) and has taken the "
        "node out of use. Ask for another session."
    )


def _failed_silently(session: Session, job: SlurmJob) -> str:
    if job.exit_signal == _NO_OUTPUT:
        return (
            f"Slurm could not write the session's log on the node {job.node}: the directory of "
            "the logs is full, read-only or missing there. Tell the administrators."
        )
    if job.exit_signal == _SIGKILL:
        return (
            "The session's processes were killed from outside (signal 9). If it used more than "
            f"its {session.memory_gb} GiB of memory, ask for more next time."
        )
    says = job.state_reason
    told = f" Slurm says: {says}." if says not in ("", "None", "NonZeroExitCode") else ""
    return f"{REASONS['FAILED']}{told} Its log may tell more."
