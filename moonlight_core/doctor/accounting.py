"""slurmdbd: QoS, account, and what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.doctor.finding import Finding, green, red, yellow
from moonlight_core.doctor.limits import minutes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site

_HOUR_MIN = 60
_SHOWN = 5
_FIELDS = ("name", "maxwall", "gracetime", "maxtresperuser", "maxsubmitjobsperuser", "flags")


def qos(site: Site) -> Iterator[Finding]:
    """It exists, with its limits, and somebody may use it."""
    name = site.settings.slurm.qos
    subject = f"QoS {name}"
    rows = site.accounting("qos", _FIELDS, f"name={name}")
    if not rows:
        yield red(
            subject,
            "It does not exist: every submit is refused.",
            f"deploy/slurm/setup-accounting makes it (`sacctmgr add qos {name}` at the least).",
        )
        return
    limits = ", ".join(
        f"{key} {value}" for key, value in rows[0].items() if value and key != "name"
    )
    longest = minutes(rows[0]["maxwall"])
    hours = site.settings.sessions.max_hours
    if longest is not None and longest < hours * _HOUR_MIN:
        yield yellow(
            subject,
            f"MaxWall is {rows[0]['maxwall']}, and [sessions] max_hours lets users ask for {hours} "
            "h: such submits are refused.",
            f"sacctmgr modify qos {name} set MaxWall={hours}:00:00, or lower [sessions] max_hours.",
        )
    if site.entitled:
        some = ", ".join(site.entitled[:_SHOWN])
        more = len(site.entitled) - _SHOWN
        yield green(
            subject,
            f"It exists ({limits or 'no limits'}); {len(site.entitled)} users may use it: {some}"
            f"{f' and {more} more' if more > 0 else ''}.",
        )
    elif "qos" in site.option("AccountingStorageEnforce"):
        yield red(
            subject,
            "It exists, and no association lets anybody use it.",
            f"sacctmgr modify account name=ACCOUNT set qos+={name}",
        )
    else:
        yield green(subject, "It exists; Slurm does not enforce who may use a QoS.")


def account(site: Site) -> Iterator[Finding]:
    """The account that sessions are charged to exists."""
    name = site.settings.slurm.account
    if not name:
        yield green("account", "Sessions are charged to each user's default account.")
        return
    if site.accounting("account", ("account",), f"name={name}"):
        users = site.accounting("assoc", ("user",), f"account={name}")
        count = sum(bool(row["user"]) for row in users)
        yield green(f"account {name}", f"It exists, with {count} users.")
    else:
        yield red(
            f"account {name}",
            "It does not exist: every submit is refused.",
            f"sacctmgr add account {name}, or set [slurm] account to one that does, or to nothing.",
        )


def kept_words(site: Site) -> Iterator[Finding]:
    """What sessions said is kept with the job for later."""
    kept = {flag.lower() for flag in site.option("AccountingStoreFlags").split(",")}
    field = site.settings.slurm.report_field
    missing = [flag for flag in ("job_comment", f"job_{field}") if flag not in kept]
    if missing:
        yield yellow(
            "AccountingStoreFlags",
            f"{', '.join(dict.fromkeys(missing))} is missing: after MinJobAge nobody can "
            "tell why a session failed.",
            "AccountingStoreFlags=job_comment,job_extra, then `scontrol reconfigure`.",
        )
    else:
        yield green("AccountingStoreFlags", "slurmdbd keeps what sessions said.")
