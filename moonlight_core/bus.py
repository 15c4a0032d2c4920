"""What travels between the service and a session's job through slurmctld.

Service to job, in AdminComment, which only root and SlurmUser may write:

    moonlight:<session id> image=<image id> identity=<n> cpus=<n> memory_gb=<n> gpus=<n> hours=<n>
        width=<n> height=<n> fps=<n> idle_minutes=<n> secret_id=<n> [<option>=<value> …]
        [node=<node> display=<n> port=<base port> restart=<n>] [ends=<time>] [end=<why>] [shot=<n>]

It is the mark by which the service vouches for the job, and enough to rebuild the record from; of
the options (``moonlight_core.options``) those are in it that are not as usual; of a list the items,
percent-encoded, between commas, if they are not too long. The part from node to restart is the
lease for one start of the job: a requeued job keeps its id and AdminComment, but must not use the
slot of its earlier life. The rest are wishes, heard at once by a script that SIGUSR2 wakes
(``SlurmGateway.wake``):

    ends=<Unix seconds>   show in the desktop that it ends then unless somebody connects
    end=idle|age          end now, unless somebody is connected: the script has the last word
    shot=<n>              make the n-th picture of the desktop

Words are read by their names, in any order; unknown ones are a newer version's and are passed over.

Job to service, in Extra (or after the session id in Comment, where a site has the scheduler read
Extra): a JSON object written by the batch script. Its owner can write anything there, so it is
shown, and bounded, but never trusted.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import attrs

from moonlight_core.gateway import COMMENT_PREFIX
from moonlight_core.models import SESSION_ID, Lease, Session
from moonlight_core.options import OPTIONS
from moonlight_core.record_values import spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moonlight_core.gateway import SlurmJob

_LONGEST_REASON = 500
_LONGEST_LOG = 4000
_LONGEST_REPORT = 16384
_WORD = re.compile(r"[a-z][a-z_]{0,39}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("identity", "cpus", "memory_gb", "gpus", "hours", "width", "height", "fps")
# Numbers that marks of earlier versions lack.
_LATER_NUMBERS = ("idle_minutes", "secret_id")
_LISTS = frozenset(name for name, option in OPTIONS.items() if option.kind is tuple)
# Comment and Extra end at 1024 bytes; an AdminComment is kept within that, too.
_LONGEST_LIST = 150
_WORD_OF_OPTION = re.compile(r"[!-~]{1,64}")
_LEASE = ("node", "display", "port", "restart")
_FIRST_WORD = re.compile(rf"{COMMENT_PREFIX}(?P<session_id>{SESSION_ID.pattern})")
_NUMBER = re.compile(r"\d{1,10}")
_IMAGE = re.compile(r"[a-z0-9_]{1,32}")
_WISHES = {
    "ends": re.compile(r"\d{1,12}"),
    "end": re.compile(r"[a-z]{1,10}"),
    "shot": re.compile(r"\d{1,9}"),
}


@attrs.frozen(kw_only=True)
class Mark:
    """What the service once wrote into a job's AdminComment.

    ``numbers`` and ``options`` hold attributes of the session by their names, ``options`` as in its
    record; ``lease`` is for the start of the job that ``restart_count`` tells; ``wishes`` are what
    the script is to do.
    """

    session_id: str
    image_id: str
    numbers: Mapping[str, int]
    lease: Lease | None = None
    restart_count: int = 0
    options: Mapping[str, str] = attrs.field(factory=dict)
    wishes: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of_session(cls, session: Session) -> Mark:
        """What the service writes for a session as it is now."""
        wishes = {}
        if session.warned_at is not None and session.idle_ends_at is not None:
            wishes["ends"] = str(int(session.idle_ends_at.timestamp()))
        if session.end_wanted is not None:
            wishes["end"] = session.end_wanted
        if session.shots:
            wishes["shot"] = str(session.shots)
        return cls(
            session_id=session.session_id,
            image_id=session.image_id,
            numbers={name: getattr(session, name) for name in _NUMBERS + _LATER_NUMBERS},
            lease=session.lease,
            restart_count=session.restart_count,
            options=_options_of(session),
            wishes=wishes if session.lease else {},
        )

    @classmethod
    def of_job(cls, job: SlurmJob) -> Mark | None:
        """What stands in a job's AdminComment, or None if it is not ours."""
        first, *others = job.admin_comment.split(" ")
        found = _FIRST_WORD.fullmatch(first)
        words = {name: value for name, sep, value in (w.partition("=") for w in others) if sep}
        image_id = words.get("image", "")
        numbers = {name: words.get(name, "") for name in _NUMBERS}
        numbers |= {name: words.get(name, "0") for name in _LATER_NUMBERS}
        if (
            found is None
            or not _IMAGE.fullmatch(image_id)
            or not all(_NUMBER.fullmatch(number) for number in numbers.values())
        ):
            return None
        lease, restart = _lease_of(words)
        return cls(
            session_id=found["session_id"],
            image_id=image_id,
            numbers={name: int(number) for name, number in numbers.items()},
            lease=lease,
            restart_count=restart,
            options={
                name: value
                for name in OPTIONS
                if (value := _option_of(words.get(name), name)) is not None
            },
            wishes={
                name: words[name]
                for name, form in _WISHES.items()
                if name in words and form.fullmatch(words[name])
            },
        )

    def text(self) -> str:
        """The AdminComment."""
        words = [f"{COMMENT_PREFIX}{self.session_id}", f"image={self.image_id}"]
        words += [f"{name}={value}" for name, value in self.numbers.items()]
        words += [f"{name}={_word_of(value, name)}" for name, value in self.options.items()]
        if self.lease:
            words += [
                f"node={self.lease.node}",
                f"display={self.lease.display_num}",
                f"port={self.lease.sunshine_port}",
                f"restart={self.restart_count}",
            ]
        words += [f"{name}={value}" for name, value in self.wishes.items()]
        return " ".join(words)


def _option_of(word: str | None, name: str) -> str | None:
    """An option as it stands in a record, of its word in a mark."""
    if word is None:
        return None
    value = spelled(tuple(map(unquote, word.split(",")))) if name in _LISTS else word
    try:
        Session.parsed({name: value})
    except ValueError:
        return None
    return value


def _word_of(value: str, name: str) -> str:
    """The word of an option; bash splits a mark into words, and expands patterns among them."""
    if name not in _LISTS:
        return value
    return ",".join(quote(item, safe="/:") for item in json.loads(value))


@functools.cache
def _usual() -> Mapping[str, Any]:
    defaults = {field.name: field.default for field in attrs.fields(Session)}
    return {name: defaults[name] for name in OPTIONS}


def _options_of(session: Session) -> dict[str, str]:
    chosen = {
        name: spelled(value)
        for name, usual in _usual().items()
        if (value := getattr(session, name)) != usual
    }
    return {
        name: text
        for name, text in chosen.items()
        # An AdminComment is one line, and a word of it has no spaces.
        if (
            len(_word_of(text, name)) <= _LONGEST_LIST
            if name in _LISTS
            else _WORD_OF_OPTION.fullmatch(text)
        )
    }


def _lease_of(words: Mapping[str, str]) -> tuple[Lease | None, int]:
    """The lease in a mark's words, and for which start of the job it is."""
    node, *numbers = (words.get(name, "") for name in _LEASE)
    if not node or not all(_NUMBER.fullmatch(number) for number in numbers):
        return None, 0
    display, port, restart = map(int, numbers)
    return Lease(node=node, display_num=display, sunshine_port=port), restart


@attrs.frozen(kw_only=True)
class Report:
    """What a session's batch script said last.

    Attributes:
        phase: a word: ``starting_x``, ``ready``, ``slot_busy``, ``failed``, …
        reason: a sentence for people.
        log: the last lines of the log.
        busy: with ``slot_busy``: ``display`` or ``port``.
        display_num: with ``slot_busy``: the display of the lease it is about.
        sunshine_port: with ``slot_busy``: the base port of the lease it is about.
        restart_count: the start of the job it is about.
        cert_sha256: with ``ready``: SHA-256 of the certificate of the session's Sunshine, in
            hexadecimal.
        hears: whether the script can be woken; the signal would end one that does not know it.
        code: with ``failed``: why, in a word.
        sunshine_version: Sunshine's version, as it tells it.
        uinput: whether there is a /dev/uinput in the container; None if it is not said.
        clients: Moonlight clients that stream now.
        seen: Unix seconds at which one last came or went.
        stream: ``busy`` while an application is open in Moonlight, else ``free``.
        restarts: how often Sunshine was started again.
    """

    phase: str
    reason: str | None = None
    log: str | None = None
    busy: str | None = None
    display_num: int | None = None
    sunshine_port: int | None = None
    restart_count: int = 0
    cert_sha256: str | None = None
    hears: bool = False
    code: str | None = None
    sunshine_version: str | None = None
    uinput: bool | None = None
    clients: int | None = None
    seen: int | None = None
    stream: str | None = None
    restarts: int = 0

    @classmethod
    def of_job(cls, job: SlurmJob) -> Report | None:
        """The job's report, or None while there is none, or none that makes sense."""
        comment = job.comment.partition(" ")[2]
        text = job.extra or comment
        if not text.startswith("{") or len(text) > _LONGEST_REPORT:
            return None
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        phase = _matching(document.get("phase"), _WORD)
        if phase is None:
            return None
        busy, uinput, stream = (document.get(name) for name in ("busy", "uinput", "stream"))
        return cls(
            phase=phase,
            reason=_text(document.get("reason"), _LONGEST_REASON),
            log=_text(document.get("log"), _LONGEST_LOG),
            busy=busy if busy in ("display", "port") else None,
            display_num=_number(document.get("display")),
            sunshine_port=_number(document.get("port")),
            restart_count=_number(document.get("restart")) or 0,
            cert_sha256=_matching(document.get("cert"), _SHA256),
            hears=document.get("hears") == 1,
            code=_matching(document.get("code"), _WORD),
            sunshine_version=_matching(document.get("version"), _VERSION),
            uinput={"yes": True, "no": False}.get(uinput) if isinstance(uinput, str) else None,
            clients=_fact(document.get("clients"), 1 << 10),
            seen=_fact(document.get("seen"), 1 << 33),
            stream=stream if stream in ("free", "busy") else None,
            restarts=_fact(document.get("restarts"), 1 << 10) or 0,
        )


def says_it_ends(report: Report | None) -> bool:
    """Whether a job's script has said that it ends, or that it failed."""
    return report is not None and report.phase in ("failed", "ending")


def comment_of(session_id: str) -> str:
    """The Comment of a session's job."""
    return f"{COMMENT_PREFIX}{session_id}"


def _text(value: object, longest: int) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    # Keep line ends; everything else that a terminal might obey is shown as a question mark.
    shown = "".join(c if c == "\n" or c.isprintable() else "?" for c in value[-longest:])
    return shown.strip()


def _matching(value: object, form: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _fact(value: object, most: int) -> int | None:
    # The script writes what it has come to know as text.
    text = _matching(value, _NUMBER)
    return int(text) if text is not None and int(text) < most else None


def _number(value: object) -> int | None:
    # JSON knows numbers that no port is.
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 1 << 16 else None
