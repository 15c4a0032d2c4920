"""Running the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.doctor import (
    accounting,
    controller,
    images,
    neighbour,
    node,
    paths,
    ports,
    redis,
    service,
)
from moonlight_core.doctor.finding import Finding, red
from moonlight_core.doctor.site import CommandFailed
from moonlight_core.errors import MoonlightError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moonlight_core.doctor.site import Site

    Check = Callable[[Site], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "slurm-conf": controller.slurm_conf,
    "slurmctld": controller.slurmctld,
    "pyslurm": controller.pyslurm,
    "submit": controller.submit_for_others,
    "partition": controller.partition,
    "gres": controller.gres,
    "reports": controller.reports,
    "nudges": controller.nudges,
    "epilog": controller.epilog,
    "qos": accounting.qos,
    "account": accounting.account,
    "kept-words": accounting.kept_words,
    "redis": redis.server,
    "redis-acl": redis.acl,
    "redis-memory": redis.memory,
    "redis-clock": redis.clock,
    "directories": paths.directories,
    "secrets": paths.secrets,
    "images": images.files,
    "sunshine": images.sunshine,
    "ports": ports.reserved,
    "service": service.answers,
    "users": service.users,
    "proxy": service.proxy,
    "neighbour": neighbour.line,
    "node": node.job,
}
"""Every check by its name, in the order in which a site is set up."""


def examine(site: Site, names: list[str] | None = None) -> Iterator[tuple[str, Finding]]:
    """Run checks and yield what each says, with its name, as it comes.

    Args:
        site: what is looked at.
        names: the checks to run; None for all.
    """
    for name in names or CHECKS:
        try:
            for finding in CHECKS[name](site):
                yield name, finding
        except (CommandFailed, MoonlightError) as exc:
            yield (
                name,
                red(
                    name,
                    str(exc),
                    "Mend what the sentence names; the check says nothing more before.",
                ),
            )
