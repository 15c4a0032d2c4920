"""The program that this service is compared with: of the obvious kind, small and without tricks.

One subprocess a Slurm call (``sbatch``, ``squeue --job``, ``scancel``), one a session; the display
is the lowest that no key of Redis shows as taken. Same web framework, server and threads as ours,
so that the difference is in what is done and not in who does it.

``python -m benchmarks.baseline PORT PARTITION REDIS_URL``; the password of Redis comes from
REDISCLI_AUTH.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import uuid
from typing import Any

import falcon
import redis
import waitress

_SCRIPT = "#!/bin/bash\nexec sleep 600\n"
_FIRST_DISPLAY = 10
_FIRST_PORT = 47989


class Sessions:
    """``/sessions``."""

    def __init__(self, client: redis.Redis, partition: str) -> None:
        self._redis = client
        self._partition = partition

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """All sessions of the caller, each asked for in Slurm."""
        user = req.get_header("X-Remote-User")
        found = [self._session(key) for key in self._keys()]
        resp.media = {"sessions": [one for one in found if one["username"] == user]}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A new session."""
        user = req.get_header("X-Remote-User") or ""
        taken = {int(self._redis.hget(key, "display") or 0) for key in self._keys()}
        display = next(n for n in range(_FIRST_DISPLAY, 1 << 20) if n not in taken)
        session: dict[Any, Any] = {
            "session_id": f"{user}_{int(time.time())}_{uuid.uuid4().hex[:4]}",
            "username": user,
            "display": str(display),
            "port": str(_FIRST_PORT + display - _FIRST_DISPLAY),
            "image_id": json.loads(req.bounded_stream.read())["image_id"],
        }
        done = subprocess.run(
            [
                "sbatch",
                "--parsable",
                f"--uid={user}",
                f"--partition={self._partition}",
                "--account=research",
                "--qos=moonlight",
                "--chdir=/",
                "--output=/dev/null",
                f"--job-name={session['session_id']}",
            ],
            input=_SCRIPT,
            capture_output=True,
            text=True,
            check=True,
        )
        session["job_id"] = done.stdout.strip()
        self._redis.hset(f"baseline:session:{session['session_id']}", mapping=session)
        resp.status = falcon.HTTP_201
        resp.media = session

    def _keys(self) -> list[str]:
        found: Any = self._redis.keys("baseline:session:*")
        return list(found)

    def _session(self, key: str) -> dict[str, str]:
        session: Any = self._redis.hgetall(key)
        done = subprocess.run(
            ["squeue", "--noheader", "--job", session["job_id"], "--format=%T|%N"],
            capture_output=True,
            text=True,
            check=False,
        )
        state, _, node = done.stdout.strip().partition("|")
        return {**session, "status": state.lower() or "stopped", "node": node}


class SessionById(Sessions):
    """``/sessions/{id}``."""

    def on_get(  # type: ignore[override]
        self, _req: falcon.Request, resp: falcon.Response, session_id: str
    ) -> None:
        """One session, asked for in Slurm."""
        resp.media = self._session(f"baseline:session:{session_id}")

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """The session ends."""
        session = self._session(f"baseline:session:{session_id}")
        subprocess.run(["scancel", session["job_id"]], check=False)
        self._redis.delete(f"baseline:session:{session_id}")
        resp.media = session


def main() -> None:
    """Serve until the process is ended."""
    port, partition, url = sys.argv[1:]
    client = redis.Redis.from_url(
        url, password=os.environ.get("REDISCLI_AUTH"), decode_responses=True
    )
    logging.getLogger("waitress").setLevel("ERROR")
    app = falcon.App()
    app.add_route("/sessions", Sessions(client, partition))
    app.add_route("/sessions/{session_id}", SessionById(client, partition))
    waitress.serve(app, host="127.0.0.1", port=int(port), threads=16)


if __name__ == "__main__":
    main()
