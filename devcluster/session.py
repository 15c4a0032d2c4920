"""Asks the service for a session, as a dashboard would, and tells how to go on."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from devcluster import layout
from devcluster.errors import CancelledError, DevError, StepError

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.process import Runner
    from devcluster.progress import Progress

_SESSIONS = f"{layout.SERVICE_URL}/api/moonlight/sessions"
_LIVE = ("running", "starting", "pending")
_WAIT_LIMIT_S = 180.0
_POLL_S = 0.3
#: How long the service may be silent.
_SILENCE_LIMIT_S = 15.0

Json = dict[str, Any]


def ask(paths: layout.Paths, progress: Progress, runner: Runner) -> Json:
    """Return a running session of the first user: the one there is, or a new one.

    Raises:
        StepError: It failed, or was not running after three minutes; the session's log is shown.
    """
    living = [s for s in _call("GET", _SESSIONS)["sessions"] if s["status"] in _LIVE]
    living.sort(key=lambda session: _LIVE.index(session["status"]))
    if living:
        session = living[0]
        progress.event(f"{layout.FIRST_USER} has a session already: {session['session_id']}")
    else:
        session = _call("POST", _SESSIONS, {"image_id": layout.IMAGE_ID})
        progress.event(f"session {session['session_id']} asked for as {layout.FIRST_USER}")
    return _follow(session, paths, progress, runner)


def _follow(session: Json, paths: layout.Paths, progress: Progress, runner: Runner) -> Json:
    ident = session["session_id"]
    begun = time.monotonic()
    shown = ("", "", "")
    with progress.step("session") as step:
        while True:
            if runner.cancelled:
                raise CancelledError
            state = (session["status"], session["phase"] or "", session["reason"] or "")
            if state != shown:
                shown = state
                text = state[0] + (f": {state[1]}" if state[1] not in {"", state[0]} else "")
                step.detail = text
                reason = f" ({state[2]})" if state[2] else ""
                progress.event(f"session {text}{reason} after {time.monotonic() - begun:.1f} s")
            if session["status"] == "running":
                step.result = f"running on {session['slurm_node']}"
                return session
            if session["status"] in {"failed", "stopped", "stopping"}:
                why = session["error"] or session["reason"] or "no reason is known"
                raise StepError(
                    f"The session {ident} is {session['status']}: {why}",
                    "./dev logs moonlight shows the service's side.",
                    _log_of(paths, ident),
                )
            if time.monotonic() - begun > _WAIT_LIMIT_S:
                raise StepError(
                    f"The session {ident} is {session['status']} after {_WAIT_LIMIT_S:.0f} s.",
                    "./dev shell -- squeue --long shows what Slurm waits for.",
                    _log_of(paths, ident),
                )
            time.sleep(_POLL_S)
            session = _call("GET", f"{_SESSIONS}/{ident}")


def how_to_go_on(session: Json) -> str:
    """What the user can do now, to be printed after the steps."""
    connect = session["connect"] or {}
    ident = session["session_id"]
    # The lines must work as printed: a proxy in the environment would get between.
    curl = "curl -sS"
    if any(os.environ.get(name) for name in ("http_proxy", "all_proxy", "ALL_PROXY")):
        curl += " --noproxy '*'"
    curl += f" -H 'X-Remote-User: {layout.FIRST_USER}'"
    title = f"{session['image_name']} of {session['username']}"
    return f"""
{title} is running on {session["slurm_node"]} as Slurm job {session["job_id"]}.

Connect with any Moonlight client on this machine:
  {connect.get("address")}   ({connect.get("command")})

Try next:
  {curl} {_SESSIONS}
  {curl} {_SESSIONS}/{ident}
  {curl} -X DELETE {_SESSIONS}/{ident}

{next_steps()}"""


def next_steps() -> str:
    """The commands that go on from a cluster that is up."""
    return """  ./dev shell               a root shell on the head (./dev shell viz1: on a node)
  ./dev shell -- squeue     what Slurm runs
  ./dev test                lint and all tests
  ./dev logs                which logs there are
  ./dev down                stop everything"""


def _call(method: str, url: str, body: Json | None = None) -> Json:
    """One request to the service, past any proxy.

    It is asked again for a while when nobody answers or it says 503: it may be restarting, or
    waiting for Slurm, and no session is lost by that.

    Raises:
        DevError: It did not answer, or refused; the service's own sentence is passed on.
    """
    request = urllib.request.Request(url, method=method)  # noqa: S310  # a constant http address
    request.add_header("X-Remote-User", layout.FIRST_USER)
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + _SILENCE_LIMIT_S
    hint = "./dev logs moonlight tells more."
    while True:
        try:
            with opener.open(request, timeout=30) as answer:
                result: Json = json.load(answer)
                return result
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > end:
                raise DevError(
                    f"The service refused {method} {url}: {_sentence(error)}", hint
                ) from error
        except OSError as error:
            if time.monotonic() > end:
                raise DevError(
                    f"The service did not answer {method} {url}: {error}", hint
                ) from error
        except ValueError as error:
            raise DevError(f"What answers {method} {url} is not the service.", hint) from error
        time.sleep(_POLL_S)


def _sentence(error: urllib.error.HTTPError) -> str:
    """The service's own words for its refusal."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {error.code}"


def _log_of(paths: layout.Paths, session_id: str) -> Path | None:
    """The session's own output, if it got as far as writing one."""
    logs = paths.state / "scratch/sunshine_logs"
    return next(iter(sorted(logs.glob(f"**/*{session_id}*"))), None)
