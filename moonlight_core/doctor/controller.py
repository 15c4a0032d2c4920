"""slurmctld and pyslurm: reachable, fitting, and set up for sessions."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from moonlight_core import ports as arithmetic
from moonlight_core.doctor.finding import Finding, green, red, yellow
from moonlight_core.doctor.limits import minutes
from moonlight_core.errors import SlurmError
from moonlight_core.slurm import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site

_HOUR_MIN = 60
_EXTRA_SINCE = (25, 11)


def slurm_conf(site: Site) -> Iterator[Finding]:
    """Found and readable: without it Slurm's library ends the process that uses it."""
    path = Path(site.slurm_conf)
    if not os.access(path, os.R_OK):
        yield red(
            "slurm.conf",
            f"{path} is missing or cannot be read.",
            "Set [slurm] conf (or SLURM_CONF) to the cluster's slurm.conf; a head node without one "
            "(configless) finds it in /run/slurm/conf/slurm.conf.",
        )
    else:
        yield green("slurm.conf", f"{path} is readable.")


def slurmctld(site: Site) -> Iterator[Finding]:
    """It answers, and as which version."""
    version = site.option("SLURM_VERSION")
    yield green("slurmctld", f"It answers, as Slurm {version}.")


def pyslurm(site: Site) -> Iterator[Finding]:
    """It is installed, works with this slurmctld, and is of its version."""
    subject = "pyslurm"
    build = "docs/install.md, 'pyslurm and your Slurm', tells which one it takes and how it is had."
    version = installed_version()
    if version is None:
        yield red(subject, "pyslurm is not installed beside this program.", build)
        return
    slurm = site.option("SLURM_VERSION")
    same = version.split(".")[:2] == slurm.split(".")[:2]
    try:
        site.gateway.our_jobs()
    except SlurmError as exc:
        fits = "" if same else f" pyslurm X.Y is for Slurm X.Y: {version} does not fit {slurm}."
        yield red(subject, f"pyslurm {version} does not work: {exc}{fits}", build)
        return
    if same:
        yield green(subject, f"pyslurm {version} works with Slurm {slurm}.")
    else:
        yield green(
            subject,
            f"pyslurm {version} works with Slurm {slurm}, for which it was built by way of "
            "Slurm's backward compatibility; build it again after each upgrade of Slurm.",
        )


def submit_for_others(site: Site) -> Iterator[Finding]:
    """Only root and SlurmUser may submit for others and write AdminComment."""
    match = re.match(r"(\S+?)\((\d+)\)", site.option("SlurmUser"))
    slurm_user, slurm_uid = (match[1], int(match[2])) if match else ("root", 0)
    uid = os.geteuid()
    if uid in (0, slurm_uid):
        yield green("submitting for others", f"This account ({_name(uid)}) may.")
    else:
        yield red(
            "submitting for others",
            f"{_name(uid)} is neither root nor SlurmUser ({slurm_user}), so slurmctld refuses jobs "
            "for others and the leases in AdminComment.",
            f"Run the service, and this program, as root or as {slurm_user}.",
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def partition(site: Site) -> Iterator[Finding]:
    """It exists, is up, takes our QoS and account, and is long enough."""
    wanted, found = site.settings.slurm, site.partition
    subject = f"partition {wanted.partition}"
    faults = []
    if found.get("State") != "UP":
        faults.append(
            red(
                subject,
                f"It is {found.get('State')}: no job starts there.",
                f"scontrol update PartitionName={wanted.partition} State=UP",
            )
        )
    for name, value, what in (
        ("AllowQos", wanted.qos, "QoS"),
        ("AllowAccounts", wanted.account, "account"),
    ):
        allowed = found.get(name, "ALL").split(",")
        if value and "ALL" not in allowed and value not in allowed:
            faults.append(
                red(
                    subject,
                    f"{name}={found[name]} leaves out the {what} {value}.",
                    f"Add {value} to {name} of the partition in slurm.conf, then "
                    "`scontrol reconfigure`.",
                )
            )
        denied = found.get(name.replace("Allow", "Deny"), "").split(",")
        if value and value in denied:
            faults.append(
                red(
                    subject,
                    f"{name.replace('Allow', 'Deny')} names the {what} {value}.",
                    "Take it out of the partition's line in slurm.conf, then `scontrol "
                    "reconfigure`.",
                )
            )
    hours = site.settings.sessions.max_hours
    longest = minutes(found.get("MaxTime", ""))
    if longest is not None and longest < hours * _HOUR_MIN:
        faults.append(
            yellow(
                subject,
                f"MaxTime is {found['MaxTime']}, and [sessions] max_hours lets users ask for "
                f"{hours} h: such jobs wait for ever.",
                "Lower [sessions] max_hours, or raise MaxTime.",
            )
        )
    nodes = site.gateway.nodes(wanted.partition)
    usable = [node.name for node in nodes if node.usable]
    if not usable:
        faults.append(
            red(
                subject,
                f"None of its {len(nodes)} nodes can take a job now.",
                "`sinfo -R` tells why they are out of use.",
            )
        )
    yield from faults or [
        green(subject, f"It is up, takes our jobs, and {len(usable)} of {len(nodes)} nodes are up.")
    ]
    down = {node.name: node.reason or node.state for node in nodes if not node.usable}
    if usable and down:
        told = ", ".join(f"{name} ({why})" for name, why in down.items())
        yield yellow(subject, f"Nodes out of use: {told}.", "`sinfo -R` tells since when.")


def gres(site: Site) -> Iterator[Finding]:
    """Slurm counts slots, so that it never places more sessions on a node than it has ports."""
    settings = site.settings
    name, slots = settings.slurm.slot_gres, settings.slots
    displays = slots.last_display - slots.first_display + 1
    most = len(arithmetic.pack(slots.first_port, slots.last_port, displays))
    subject = f"GRES {name or '(none)'}"
    mend = (
        f"In slurm.conf add {name} to GresTypes and Gres={name}:{most} to the viz nodes, in "
        f"gres.conf `Name={name} Count={most} Flags=CountOnly`, then restart slurmctld and slurmd."
    )
    if not name:
        yield yellow(
            subject,
            "Slurm does not count slots: a session that is placed on a full node waits there and "
            "fails.",
            f'Set [slurm] slot_gres = "moonlight"; then add a GRES of {most} to each viz node.',
        )
        return
    if name not in site.option("GresTypes").split(","):
        yield red(subject, f"GresTypes in slurm.conf has no {name}: every submit is refused.", mend)
        return
    counts = {
        node.name: node.gres.get(name, 0) for node in site.gateway.nodes(settings.slurm.partition)
    }
    if not any(counts.values()):
        yield red(subject, f"No node of the partition has a {name}: no session ever starts.", mend)
        return
    without = [node for node, count in counts.items() if not count]
    if without:
        yield yellow(subject, f"Sessions never run on {', '.join(without)}: no {name} there.", mend)
    above = {node: count for node, count in counts.items() if count > most}
    if above:
        told = ", ".join(f"{node} has {count}" for node, count in above.items())
        yield yellow(
            subject, f"The displays and ports make {most} slots, and {told}: the rest waits.", mend
        )
    if not above and not without:
        yield green(subject, f"Every node has it, and there are ports for each ({most}).")


def _pyslurm_without_extra() -> str | None:
    """The version of the pyslurm beside us, if it is older than Job.extra in it (its sources)."""
    version = installed_version()
    if version is None:
        return None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return version if numbers < _EXTRA_SINCE else None


def reports(site: Site) -> Iterator[Finding]:
    """The field in which a job's script reports is not read as something else."""
    field = site.settings.slurm.report_field
    if field == "extra" and (version := _pyslurm_without_extra()):
        yield red(
            "reports",
            f"pyslurm {version} does not show a job's Extra, in which our scripts report: no "
            "session ever gets beyond starting.",
            'Set [slurm] report_field = "comment".',
        )
        return
    constraints = "extra_constraints" in site.option("SchedulerParameters").split(",")
    if constraints and field == "extra":
        yield red(
            "reports",
            "SchedulerParameters has extra_constraints: the scheduler reads Extra, in which our "
            "scripts report.",
            'Set [slurm] report_field = "comment".',
        )
    else:
        yield green("reports", f"Scripts report in {field.capitalize()}, which nobody else reads.")


def nudges(site: Site) -> Iterator[Finding]:
    """PrologSlurmctld and EpilogSlurmctld, where set, are there: a failing one requeues jobs."""
    missing = False
    found = []
    for name in ("PrologSlurmctld", "EpilogSlurmctld"):
        for path in filter(None, site.option(name).split(",")):
            found.append(path)
            try:
                fine = Path(path).stat().st_mode & stat.S_IXUSR
            except OSError:
                fine = 0
            if not fine:
                missing = True
                yield red(
                    name,
                    f"{path} is missing or not executable here: slurmctld drains or requeues "
                    "because of it.",
                    "Install deploy/slurm/ there (mode 755), or take it out of slurm.conf. If "
                    "slurmctld runs on another machine, look there.",
                )
    if not found:
        yield green(
            "nudges",
            "None are set: a session's slot is given within [service] reconcile_interval_s "
            f"({site.settings.service.reconcile_interval_s:g} s). deploy/slurm/ has them.",
        )
    elif not missing:
        yield green("nudges", f"{', '.join(found)} can be run.")


def epilog(site: Site) -> Iterator[Finding]:
    """Ours, which is optional, and lies on the nodes."""
    paths = [path for path in site.option("Epilog").split(",") if path.endswith("moonlight-epilog")]
    if paths:
        yield green("epilog", f"{paths[0]} removes what a session that was killed leaves.")
    else:
        yield green(
            "epilog",
            "Ours is not set: the directory of a session that was killed stays until its user's "
            "next one. deploy/slurm/moonlight-epilog removes it at once.",
        )
