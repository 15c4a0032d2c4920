"""What the checks look at: the settings, and Slurm's own words, each asked for once."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from moonlight_core.redis_client import connect
from moonlight_core.slurm_worker import WorkerGateway
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.settings import Settings

_COMMAND_S = 15
_WORKER_S = 20.0


class CommandFailed(Exception):
    """Raised when a program of the site is missing, fails, or does not end; says which and why."""


@attrs.define(kw_only=True, slots=False)
class Site:
    """One site, as the checks see it.

    Attributes:
        settings: the configuration.
        user: an account to try the nodes as; None for the caller's own, if that is no root.
        nodes: nodes to try; empty for one of Slurm's choice.
        environ: the environment that the settings were read with.
    """

    settings: Settings
    user: str | None = None
    nodes: Sequence[str] = ()
    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ)

    def run(self, *command: str) -> str:
        """What a program prints.

        Raises:
            CommandFailed: it is missing, fails, or does not end within 15 seconds.
        """
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
            "LC_ALL": "C",
            "SLURM_CONF": self.slurm_conf,
        }
        try:
            done = subprocess.run(  # noqa: S603 - fixed programs, no shell
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                env=environment,
                errors="replace",
            )
        except FileNotFoundError:
            raise CommandFailed(f"The program {command[0]} is not on PATH here.") from None
        except subprocess.TimeoutExpired:
            raise CommandFailed(
                f"`{' '.join(command)}` did not end within {_COMMAND_S} s."
            ) from None
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
            raise CommandFailed(f"`{' '.join(command)}` failed: {words[-1]}")
        return done.stdout

    @property
    def slurm_conf(self) -> str:
        """The slurm.conf in force."""
        return self.environ.get("SLURM_CONF", str(self.settings.slurm.conf))

    @cached_property
    def slurm(self) -> Mapping[str, str]:
        """Slurmctld's configuration, by name in lower case.

        Raises:
            CommandFailed: it does not answer.
        """
        found: dict[str, str] = {}
        for line in self.run("scontrol", "show", "config").splitlines():
            name, equals, value = line.partition("=")
            if equals:
                # What may be given several times is numbered: Epilog[0], Epilog[1].
                key, numbered = re.subn(r"\[\d+\]$", "", name.strip().lower())
                before = f"{found[key]}," if numbered and key in found else ""
                found[key] = before + value.strip()
        return found

    def option(self, name: str) -> str:
        """A value of slurm.conf; empty when it is not set."""
        value = self.slurm.get(name.lower(), "")
        return "" if value == "(null)" else value

    @cached_property
    def partition(self) -> Mapping[str, str]:
        """The partition of sessions, by Slurm's own names.

        Raises:
            CommandFailed: there is none, or slurmctld does not answer.
        """
        text = self.run(
            "scontrol", "--oneliner", "show", "partition", self.settings.slurm.partition
        )
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def accounting(self, what: str, fields: Sequence[str], *where: str) -> list[dict[str, str]]:
        """Rows of slurmdbd.

        Raises:
            CommandFailed: it does not answer.
        """
        text = self.run(
            "sacctmgr", "--noheader", "--parsable2", "show", what, f"format={','.join(fields)}",
            *(["where", *where] if where else []),
        )  # fmt: skip
        return [dict(zip(fields, line.split("|"), strict=False)) for line in text.splitlines()]

    @cached_property
    def entitled(self) -> list[str]:
        """Users whose associations let them use the QoS of sessions.

        Raises:
            CommandFailed: slurmdbd does not answer.
        """
        wanted = self.settings.slurm
        account = [f"account={wanted.account}"] if wanted.account else []
        rows = self.accounting("assoc", ("user", "qos"), *account)
        return sorted({r["user"] for r in rows if r["user"] and wanted.qos in r["qos"].split(",")})

    def leases(self, node: str) -> list[int]:
        """Base ports of the sessions on a node.

        Raises:
            StoreUnavailable, StoreRefused: Redis does not tell.
        """
        taken = SessionStore(connect(self.settings.redis)).slots.taken([node])[node]
        return [lease.sunshine_port for lease in taken.leases.values()]

    @cached_property
    def gateway(self) -> SlurmGateway:
        """The way to Slurm that the service takes: pyslurm, in a process of its own."""
        return WorkerGateway(self.settings.slurm.conf, deadline_s=_WORKER_S)
