"""Every Redis key and channel there is. Nothing else in the project spells one.

    moonlight:session:<id>           hash    the record of a session; expires a while after its end
    moonlight:session:<id>:pairing   hash    how the last pairing went or goes; expires
    moonlight:session:<id>:pins      list    when PINs were last tried, Unix seconds; expires
    moonlight:session:<id>:picture   string  set while no other picture may be made; expires
    moonlight:sessions               zset    ids of all records, by time of creation, Unix seconds
    moonlight:sessions:live          zset    ids of sessions that have not ended
    moonlight:user:<user>:sessions   zset    ids of a user's records
    moonlight:user:<user>:live       zset    … that have not ended, by identity (docs/sessions.md)
    moonlight:user:<user>:creates    list    when sessions were lately asked for, Unix s; expires
    moonlight:node:<node>:leases     hash    session id -> "<display> <base port>"
    moonlight:node:<node>:blocked    zset    "display:<n>" or "port:<n>", by when it is free again
    moonlight:nodes                  set     nodes that have, or had, leases
    moonlight:scan                   string  set while nobody needs to scan all jobs again; expires
    moonlight:events                 channel "<session id> <status> <phase>" at each change;
                                             "nudge" asks for a round of reconcile at once
    moonlight:nobody                 channel on which nobody speaks (moonlight_core.tracking)

Ids hold no colon, neither do user or node names, so keys cannot meet.
"""

from __future__ import annotations

PREFIX = "moonlight:"
SESSIONS = PREFIX + "sessions"
LIVE = PREFIX + "sessions:live"
NODES = PREFIX + "nodes"
SCAN = PREFIX + "scan"
EVENTS = PREFIX + "events"
NUDGE = "nudge"
NOBODY = PREFIX + "nobody"


def session(session_id: str) -> str:
    """The record of a session."""
    return f"{PREFIX}session:{session_id}"


def pairing(session_id: str) -> str:
    """The pairing that a session's Sunshine is busy with, or was last."""
    return f"{PREFIX}session:{session_id}:pairing"


def pins(session_id: str) -> str:
    """When PINs were tried on a session's Sunshine."""
    return f"{PREFIX}session:{session_id}:pins"


def picture(session_id: str) -> str:
    """That a picture of a session's desktop was made a moment ago."""
    return f"{PREFIX}session:{session_id}:picture"


def user_sessions(username: str) -> str:
    """All records of a user."""
    return f"{PREFIX}user:{username}:sessions"


def user_live(username: str) -> str:
    """A user's sessions that have not ended."""
    return f"{PREFIX}user:{username}:live"


def user_creates(username: str) -> str:
    """When a user asked for sessions within the last minute."""
    return f"{PREFIX}user:{username}:creates"


def leases(node: str) -> str:
    """The leases on a node."""
    return f"{PREFIX}node:{node}:leases"


def blocked(node: str) -> str:
    """Displays and ports of a node on which somebody else sits."""
    return f"{PREFIX}node:{node}:blocked"
