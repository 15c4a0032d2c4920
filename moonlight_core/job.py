"""From a session to the Slurm job that it runs as."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from moonlight_core import bus
from moonlight_core.gateway import JobSpec
from moonlight_core.single_user import LEASE_FIELD
from moonlight_core.sunshine_conf import apps_json, options_text

if TYPE_CHECKING:
    from moonlight_core.images import Image
    from moonlight_core.models import Session
    from moonlight_core.settings import Settings
    from moonlight_core.users import User

_MARK_FIELD = "AdminComment"
_MIB_PER_GIB = 1024


def job_spec(
    session: Session, image: Image, user: User, settings: Settings, *, script: str, credentials: str
) -> JobSpec:
    """The job of a session.

    Args:
        session: the session.
        image: its image.
        user: the account it runs as.
        settings: the configuration.
        script: text of the batch script.
        credentials: text of Sunshine's credentials file; it holds no password.
    """
    slurm, paths = settings.slurm, settings.paths
    gres = {slurm.gpu_gres: session.gpus}
    if slurm.slot_gres:
        gres[slurm.slot_gres] = 1
    return JobSpec(
        name=session.session_id,
        comment=bus.comment_of(session.session_id),
        # The mark proves later that this job is ours.
        admin_comment=bus.Mark.of_session(session).text(),
        script=script,
        environment={
            "PATH": slurm.job_path,
            "HOME": user.home,
            "USER": user.name,
            "LOGNAME": user.name,
            "SHELL": user.shell,
            "LANG": "C.UTF-8",
            "SLURM_CONF": os.environ.get("SLURM_CONF", str(slurm.conf)),
            # slurmd opens the log with this mask: nobody else reads it.
            "SLURM_UMASK": "0077",
            "MOONLIGHT_SESSION_ID": session.session_id,
            "MOONLIGHT_IDENTITY": str(session.identity),
            "MOONLIGHT_IMAGE_ID": image.id,
            "MOONLIGHT_SIF": str(image.sif),
            "MOONLIGHT_ROOTFS": image.rootfs,
            "MOONLIGHT_DESKTOP": image.desktop,
            "MOONLIGHT_ENCODER": session.encoder,
            "MOONLIGHT_SUNSHINE_VERSION": session.sunshine_version or "",
            "MOONLIGHT_SUNSHINE_OPTIONS": options_text(session),
            "MOONLIGHT_APPS": apps_json(session, image),
            "MOONLIGHT_X_SERVER": session.x_server,
            "MOONLIGHT_XORG_CONF": str(image.xorg_conf or ""),
            "MOONLIGHT_KEYBOARD": session.keyboard,
            "MOONLIGHT_LOCALE": session.locale,
            "MOONLIGHT_TIME_ZONE": session.time_zone,
            "MOONLIGHT_AUDIO": "yes" if session.audio else "no",
            "MOONLIGHT_BINDS": ",".join((*image.binds, *session.binds)),
            "MOONLIGHT_GPUS": str(session.gpus),
            "MOONLIGHT_WIDTH": str(session.width),
            "MOONLIGHT_HEIGHT": str(session.height),
            "MOONLIGHT_FPS": str(session.fps),
            "MOONLIGHT_MAX_WIDTH": str(settings.sessions.max_width),
            "MOONLIGHT_MAX_HEIGHT": str(settings.sessions.max_height),
            "MOONLIGHT_SANDBOXES": str(paths.sandboxes),
            "MOONLIGHT_SESSIONS": str(paths.sessions),
            "MOONLIGHT_CREDENTIALS": credentials,
            "MOONLIGHT_REPORT_FIELD": slurm.report_field,
            "MOONLIGHT_LEASE_FIELD": LEASE_FIELD if settings.service.single_user else _MARK_FIELD,
            "MOONLIGHT_SLOT_WAIT_S": str(settings.slots.wait_s),
            "MOONLIGHT_START_TIMEOUT_S": str(settings.sessions.start_timeout_s),
            "MOONLIGHT_WARN_S": str(settings.sessions.end_notice_s),
            "MOONLIGHT_WATCH_S": str(settings.watch.interval_s),
            "MOONLIGHT_WATCH_TIMEOUT_S": str(settings.watch.timeout_s),
            "MOONLIGHT_WATCH_MISSES": str(settings.watch.misses),
            "MOONLIGHT_SUNSHINE_RESTARTS": str(settings.watch.restarts),
        },
        user_id=user.uid,
        group_id=user.gid,
        working_directory="/",
        output=str(paths.logs / f"{session.session_id}.log"),
        partition=slurm.partition,
        qos=slurm.qos,
        account=slurm.account,
        cpus=session.cpus,
        memory_mb=session.memory_gb * _MIB_PER_GIB,
        gres=gres,
        time_limit_min=session.hours * 60,
        warn_s=settings.sessions.end_notice_s,
    )
