"""How pairings go, in Redis, so that every service tells the same and one at a time is under way.

No PIN is ever written here.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from moonlight_core import keys
from moonlight_core.errors import PairingUnderWay, StoreError, TooManyPins
from moonlight_core.models import PairedClient, Pairing, PairingStatus
from moonlight_core.redis_client import redis_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis
    from redis.commands.core import Script

MOST_PINS = 10
"""PINs that may be tried on a session within ``PINS_WINDOW_S``."""
PINS_WINDOW_S = 60
_KEEP_ENDED_S = 600


class PairingStore:
    """The pairings of sessions; one a session at a time.

    Every method raises ``StoreUnavailable`` when Redis cannot be reached and ``StoreRefused`` when
    it answers with an error.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts: Mapping[str, Script] = {
            name: client.register_script(
                resources.files("moonlight_core").joinpath("lua", f"{name}.lua").read_text("utf-8")
            )
            for name in ("pair_begin", "pair_end")
        }

    def begin(self, session_id: str, token: str, *, longest_s: float) -> None:
        """Claim a session's Sunshine for a pairing.

        Args:
            session_id: the session.
            token: a word of the caller's own, to end it with.
            longest_s: seconds after which it is over, should nobody end it.

        Raises:
            PairingUnderWay: somebody else has claimed it.
            TooManyPins: it was claimed too often lately.
        """
        outcome, retry_after_s = self._run(
            "pair_begin",
            [keys.pairing(session_id), keys.pins(session_id)],
            [token, int(longest_s) + 1, MOST_PINS, PINS_WINDOW_S],
        )
        match outcome:
            case 1:
                return
            case 0:
                raise PairingUnderWay(session_id)
            case 2:
                raise TooManyPins(session_id, retry_after_s)
        raise StoreError(f"pair_begin answered {outcome!r}, which it cannot.")

    def end(self, session_id: str, token: str, pairing: Pairing) -> None:
        """Write how a pairing ended; nothing if it is over already."""
        fields = {"status": str(pairing.status), "error": pairing.error or ""}
        if pairing.client:
            fields |= {"client_name": pairing.client.name, "client_uuid": pairing.client.uuid}
        pairs = [part for pair in fields.items() for part in pair]
        self._run("pair_end", [keys.pairing(session_id)], [token, _KEEP_ENDED_S, *pairs])

    def get(self, session_id: str) -> Pairing:
        """How the session's last pairing goes or went; some minutes later it is forgotten."""
        with redis_errors():
            fields = cast("dict[str, str]", self._redis.hgetall(keys.pairing(session_id)))
        client = None
        if "client_uuid" in fields:
            client = PairedClient(name=fields["client_name"], uuid=fields["client_uuid"])
        return Pairing(
            status=PairingStatus(fields.get("status", PairingStatus.NONE)),
            client=client,
            error=fields.get("error") or None,
        )

    def _run(self, name: str, names: list[str], args: list[Any]) -> Any:
        with redis_errors():
            return self._scripts[name](keys=names, args=args)
