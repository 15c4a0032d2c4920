"""Redis: reachable, confined, persistent, on time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from moonlight_core.doctor.finding import Finding, green, red, yellow
from moonlight_core.errors import StoreError, StoreRefused
from moonlight_core.redis_client import connect, redis_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site

_OLDEST = (6, 2)
_SKEW_S = 2.0
_FOREIGN_KEY = "vnc:session:moonlight-doctor"


def server(site: Site) -> Iterator[Finding]:
    """It answers, takes our scripts, and is new enough."""
    client = connect(site.settings.redis)
    try:
        with redis_errors():
            client.ping()
            client.eval("return 1", 0)
    except StoreError as exc:
        yield red(
            "Redis",
            str(exc),
            "Is it running, and are [redis] url, username and password_file right? "
            "`redis-cli -u URL ping` tries it by hand.",
        )
        return
    version = str(_info(site, "server").get("redis_version", ""))
    if not version:
        yield yellow(
            "Redis",
            "It answers, and does not tell its version: INFO is denied to us.",
            "Allow it: ACL SETUSER … +info (deploy/redis/moonlight.acl).",
        )
    elif tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        yield red("Redis", f"It is {version}; 6.2 or newer is needed.", "Upgrade it.")
    else:
        yield green("Redis", f"It answers, as Redis {version}.")


def acl(site: Site) -> Iterator[Finding]:
    """A user of our own, who reaches nothing but ours."""
    client = connect(site.settings.redis)
    mend = "deploy/redis/moonlight.acl makes a user of our own; set [redis] username."
    try:
        with redis_errors():
            client.exists(_FOREIGN_KEY)
    except StoreRefused:
        yield green("Redis ACL", "We reach no keys but our own.")
        return
    if site.settings.redis.password_file is None and not site.settings.redis.url.startswith("unix"):
        yield yellow(
            "Redis ACL",
            "We connect without a password, and so may everybody who reaches it: whoever writes "
            "our records moves other people's sessions.",
            f"Give Redis a password, [redis] password_file. {mend}",
        )
    else:
        yield yellow(
            "Redis ACL", "Our user may touch the keys of others, the VNC service's too.", mend
        )


def memory(site: Site) -> Iterator[Finding]:
    """Nothing is evicted, and what is written is kept."""
    policy = str(_info(site, "memory").get("maxmemory_policy", ""))
    kept = _info(site, "persistence")
    if not policy:
        yield yellow(
            "Redis memory",
            "Its eviction policy and persistence cannot be seen: INFO is denied to us.",
            "Allow it: ACL SETUSER … +info (deploy/redis/moonlight.acl).",
        )
        return
    if policy == "noeviction":
        yield green("Redis memory", "Nothing is evicted.")
    else:
        yield yellow(
            "Redis memory",
            f"maxmemory-policy is {policy}: a full Redis may forget sessions and leases (they are "
            "rebuilt from Slurm, after a while).",
            "CONFIG SET maxmemory-policy noeviction, and in redis.conf; where the neighbours need "
            "eviction, a Redis of our own.",
        )
    if str(kept.get("aof_enabled")) == "1" and kept.get("aof_last_write_status") == "ok":
        yield green("Redis persistence", "Every write is kept (appendonly).")
    elif kept.get("rdb_last_bgsave_status") != "ok":
        yield yellow(
            "Redis persistence",
            "Its last attempt to write its data to disk failed.",
            "Redis's log tells why; often the disk is full.",
        )
    else:
        yield yellow(
            "Redis persistence",
            "A crash of Redis loses its last minutes (they are rebuilt from Slurm, without ended "
            "sessions).",
            "appendonly yes in redis.conf.",
        )


def clock(site: Site) -> Iterator[Finding]:
    """Its clock is ours: blocked slots and tries of PINs are timed by it."""
    client = connect(site.settings.redis)
    with redis_errors():
        before = time.time()
        answer: Any = client.time()
        after = time.time()
    theirs = answer[0] + answer[1] / 1e6
    skew = max(before - theirs, theirs - after, 0.0)
    if skew > _SKEW_S:
        yield yellow(
            "Redis clock",
            f"It is {skew:.1f} s off this machine's.",
            "Let chrony or ntpd keep both.",
        )
    else:
        yield green("Redis clock", "It is this machine's.")


def _info(site: Site, section: str) -> dict[str, Any]:
    client = connect(site.settings.redis)
    try:
        with redis_errors():
            return dict(client.info(section))
    except StoreRefused:
        return {}
