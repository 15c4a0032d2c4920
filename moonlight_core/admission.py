"""From what somebody asks for to a session that may be: the image, and sizes within the limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from moonlight_core import options
from moonlight_core.errors import ImageNotFound, ImageUnavailable, InvalidRequest
from moonlight_core.image_record import image_record
from moonlight_core.models import Session
from moonlight_core.sunshine_conf import input_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from moonlight_core.images import Image
    from moonlight_core.limits import Limits
    from moonlight_core.models import SessionRequest
    from moonlight_core.users import User

_KEY = re.compile(r"[!-~ ]{1,255}")
_LONGEST_SHOWN = 60
_MOST_IDLE_MINUTES = 100_000


def shown(value: object) -> str:
    """What somebody sent, short enough to be told back."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def check_idempotency_key(key: object) -> None:
    """See that a key is one.

    Raises:
        InvalidRequest: it is not 1 to 255 printable ASCII characters.
    """
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise InvalidRequest(
            "Idempotency-Key", "The Idempotency-Key must be 1 to 255 printable ASCII characters."
        )


def choose_image(images: Mapping[str, Image], image_id: str | None, user: User) -> Image:
    """The image of that id, or the default one, for a session of ``user``.

    Raises:
        ImageNotFound: there is none.
        ImageUnavailable: its file is missing, or the user cannot read it.
    """
    if image_id is None:
        image = next(image for image in images.values() if image.default)
    elif isinstance(image_id, str) and image_id in images:
        image = images[image_id]
    else:
        told = f"There is no image {shown(image_id)}; there are {', '.join(images)}."
        raise ImageNotFound(told)
    if not image.available_to(user):
        raise ImageUnavailable(
            f"The image {image.id} ({image.name}) is not available to {user.name}: its file is "
            "missing or cannot be read. Choose another one, or tell the administrators."
        )
    return image


def new_session(
    request: SessionRequest,
    image: Image,
    limits: Limits,
    *,
    session_id: str,
    created_at: dt.datetime,
) -> Session:
    """The first state of a session.

    Raises:
        InvalidRequest: a size is no whole number or outside its limits, or an option cannot be had.
    """

    def chosen(name: str, least: int, most: int) -> int:
        value = getattr(request, name)
        if value is None:
            # Who says nothing gets what the image usually has, or as much as she may.
            return min(int(getattr(image, name)), most)
        return checked(name, value, least, most)

    def checked(name: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest(name, f"{name} is {shown(value)}: a whole number is wanted.")
        if not least <= value <= most:
            told = f"{name} is {shown(value)}: it may be {least} to {most}."
            raise InvalidRequest(name, told, limit=most)
        return int(value)

    def idle_minutes() -> int:
        # 0, for never, is a choice only where the site sets no limit.
        most = limits.max_idle_minutes
        if request.idle_minutes is None:
            return limits.idle_minutes
        return checked(
            "idle_minutes", request.idle_minutes, 1 if most else 0, most or _MOST_IDLE_MINUTES
        )

    record = image_record(image.sif)
    gpus = chosen("gpus", 0, limits.max_gpus)
    return Session(
        session_id=session_id,
        username=request.username,
        image_id=image.id,
        image_name=image.name,
        cpus=chosen("cpus", 1, limits.max_cpus),
        memory_gb=chosen("memory_gb", 1, limits.max_memory_gb),
        gpus=gpus,
        hours=chosen("hours", 1, limits.max_hours),
        width=chosen("width", options.SMALLEST_SIDE, limits.max_width),
        height=chosen("height", options.SMALLEST_SIDE, limits.max_height),
        fps=chosen("fps", 1, limits.max_fps),
        idle_minutes=idle_minutes(),
        sunshine_version=record.sunshine_version,
        input=input_of(record.sunshine_version),
        **options.chosen(
            request, image, record, gpus=gpus, max_bitrate_kbps=limits.max_bitrate_kbps
        ),
        reason="Being submitted to Slurm.",
        created_at=created_at,
    )
