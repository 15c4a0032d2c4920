"""What can be chosen for a desktop beside its size: an image says its own, a request another.

One table for the catalogue, requests, the command line and answers. Every value ends up as data:
in the environment of a job, a line of ``sunshine.conf`` or an argument; so each is held to its form
here, before a job is submitted.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import sunshine_conf
from moonlight_core.errors import InvalidRequest
from moonlight_core.image_record import image_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moonlight_core.image_record import ImageRecord
    from moonlight_core.images import Image
    from moonlight_core.models import SessionRequest
    from moonlight_core.settings import SessionSettings

SMALLEST_SIDE = 320
LARGEST_SIDE = 16384
LEAST_BITRATE_KBPS = 500
MOST_BITRATE_KBPS = 500_000
_KEYBOARD = re.compile(r"[a-z]{2,12}(\([A-Za-z0-9_-]{1,32}\))?")
_LOCALE = re.compile(r"(C|[a-z]{2,3}_[A-Z]{2}(@[a-z]+)?)\.UTF-8")
_TIME_ZONE = re.compile(r"[A-Za-z0-9+_-]{1,20}(/[A-Za-z0-9+_-]{1,20}){0,2}")


@attrs.frozen(kw_only=True)
class Option:
    """One thing that can be chosen.

    Attributes:
        meaning: for help texts.
        kind: ``str``, ``int``, ``bool`` or ``tuple`` (of strings).
        words: the only values, if they are few.
        form: whether a value that is none of a few can be one.
        example: a value, for messages.
        key: the key of ``sunshine.conf`` without which it cannot be had.
    """

    meaning: str
    kind: type = str
    words: tuple[str, ...] = ()
    form: Callable[[str], bool] | None = None
    example: str = ""
    key: str | None = None


def _is_time_zone(value: str) -> bool:
    if not _TIME_ZONE.fullmatch(value):
        return False
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


OPTIONS: Mapping[str, Option] = {
    "encoder": Option(
        meaning="what encodes the stream; auto takes what there is",
        words=("auto", "software", "nvenc", "vaapi"),
        key="encoder",
    ),
    "hevc": Option(
        meaning="HEVC: auto offers it where the encoder has it",
        words=("auto", "off", "on"),
        key="hevc_mode",
    ),
    "av1": Option(
        meaning="AV1: auto offers it where the encoder has it",
        words=("auto", "off", "on"),
        key="av1_mode",
    ),
    "max_bitrate_kbps": Option(
        meaning="most kilobits a second that are streamed", kind=int, key="max_bitrate"
    ),
    "x_server": Option(
        meaning="X server: Xvfb, or Xorg with the dummy driver or the site's own configuration",
        words=("xvfb", "xorg"),
    ),
    "keyboard": Option(
        meaning="keyboard layout, with a variant if wanted",
        form=lambda value: bool(_KEYBOARD.fullmatch(value)),
        example="de or us(intl)",
    ),
    "locale": Option(
        meaning="locale",
        form=lambda value: bool(_LOCALE.fullmatch(value)),
        example="ko_KR.UTF-8",
    ),
    "time_zone": Option(meaning="time zone", form=_is_time_zone, example="Asia/Seoul"),
    "audio": Option(meaning="whether the desktop has sound", kind=bool),
    "binds": Option(meaning="bind mounts, out of those that the image offers", kind=tuple),
    "applications": Option(
        meaning="applications that Moonlight shows beside the desktop, out of the image's",
        kind=tuple,
    ),
}


def _short(value: object) -> str:
    return repr(value)[:60]


def fault(name: str, value: Any) -> str | None:
    """What is wrong with a string option's value, as the end of a sentence; None if nothing is."""
    option = OPTIONS[name]
    if not isinstance(value, str):
        return f"is {_short(value)}: a string is wanted."
    if option.words and value not in option.words:
        return f"is {_short(value)}: it is one of {', '.join(option.words)}."
    if option.form and not option.form(value):
        return f"is {_short(value)}: it looks like {option.example}."
    return None


def offered(name: str, image: Image) -> tuple[str, ...]:
    """The values of an option that a request may choose; empty where they are not listed."""
    if name == "binds":
        return image.optional_binds
    if name == "applications":
        return tuple(image.applications)
    return tuple(image.choices.get(name, OPTIONS[name].words))


def offers(image: Image, limits: SessionSettings) -> dict[str, dict[str, Any]]:
    """What a request for an image may choose, for a form that asks a person.

    Returns:
        for each size and option its ``default``, and ``values``, or ``least`` and ``most``, where
        these are limited.
    """
    ranges = {
        "cpus": (1, limits.max_cpus),
        "memory_gb": (1, limits.max_memory_gb),
        "gpus": (0, limits.max_gpus),
        "hours": (1, limits.max_hours),
        "width": (SMALLEST_SIDE, limits.max_width),
        "height": (SMALLEST_SIDE, limits.max_height),
        "fps": (1, limits.max_fps),
        "max_bitrate_kbps": (LEAST_BITRATE_KBPS, limits.max_bitrate_kbps or MOST_BITRATE_KBPS),
    }
    found: dict[str, dict[str, Any]] = {
        name: {"default": getattr(image, name), "least": least, "most": most}
        for name, (least, most) in ranges.items()
    }
    idle = limits.idle_minutes if image.idle_minutes is None else image.idle_minutes
    most = limits.max_idle_minutes
    found["idle_minutes"] = {"default": idle, "least": 1 if most else 0}
    if most:
        found["idle_minutes"]["most"] = most
    record = image_record(image.sif)
    there = {"keyboard": record.keyboards, "locale": record.locales}
    for name, option in OPTIONS.items():
        if name in ranges:
            continue
        value = _of_image(name, image, 0)
        found[name] = {"default": list(value) if option.kind is tuple else value}
        values = offered(name, image) or tuple(sorted(there.get(name) or ()))
        if values or option.kind is tuple:
            found[name]["values"] = list(values)
    return found


def chosen(
    request: SessionRequest, image: Image, record: ImageRecord, *, gpus: int, max_bitrate_kbps: int
) -> dict[str, Any]:
    """The options of a session: the request's, else the image's.

    Args:
        request: what was asked for.
        image: its image.
        record: what is known of the image file.
        gpus: GPUs of the session.
        max_bitrate_kbps: the site's limit; 0 if there is none.

    Raises:
        InvalidRequest: a value is no value, or is not offered.
    """
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(request, name)
        if value is None:
            values[name] = _of_image(name, image, max_bitrate_kbps)
            continue
        if option.kind is int:
            values[name] = _bitrate(name, value, max_bitrate_kbps or MOST_BITRATE_KBPS)
        elif option.kind is bool:
            if not isinstance(value, bool):
                raise InvalidRequest(name, f"{name} is {_short(value)}: true or false is wanted.")
            values[name] = value
        elif option.kind is tuple:
            values[name] = _some(name, value, offered(name, image))
        else:
            values[name] = _word(name, value, image, record)
        if option.key and not sunshine_conf.knows(record.sunshine_version, option.key):
            raise InvalidRequest(
                name,
                f"{name} cannot be had: the image {image.id} has Sunshine "
                f"{record.sunshine_version}, which does not know it.",
            )
    if values["encoder"] == "nvenc" and gpus == 0 and request.encoder is not None:
        raise InvalidRequest(
            "encoder", "encoder is 'nvenc', which needs a GPU: ask for gpus, or for another one."
        )
    return values


def _of_image(name: str, image: Image, max_bitrate_kbps: int) -> Any:
    if name == "binds":
        # The image's own are mounted in any case.
        return ()
    if name == "applications":
        return tuple(image.applications)
    value = getattr(image, name)
    return (value or max_bitrate_kbps) if name == "max_bitrate_kbps" else value


def _bitrate(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(name, f"{name} is {_short(value)}: a whole number is wanted.")
    if not LEAST_BITRATE_KBPS <= value <= most:
        raise InvalidRequest(
            name,
            f"{name} is {str(value)[:20]}: it may be {LEAST_BITRATE_KBPS} to {most} (kbit/s).",
            limit=most,
        )
    return value


def _word(name: str, value: Any, image: Image, record: ImageRecord) -> str:
    wrong = fault(name, value)
    if wrong:
        raise InvalidRequest(name, f"{name} {wrong}", allowed=offered(name, image))
    limited = image.choices.get(name)
    if limited is not None and value not in limited:
        raise InvalidRequest(
            name,
            f"{name} is {value!r}: for the image {image.id} it is one of {', '.join(limited)}.",
            allowed=limited,
        )
    there = {"keyboard": record.keyboards, "locale": record.locales}.get(name)
    if there is not None and value not in there:
        what = ", ".join(sorted(there)) if len(there) <= 20 else f"{len(there)} others"  # noqa: PLR2004 - what fits a line
        raise InvalidRequest(
            name,
            f"{name} is {value!r}: the image {image.id} does not have it, but {what}.",
            allowed=sorted(there),
        )
    return str(value)


def _some(name: str, value: Any, among: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(name, f"{name} is {_short(value)}: a list of strings is wanted.")
    for item in value:
        if item not in among:
            raise InvalidRequest(
                name,
                f"{name} has {item[:100]!r}: "
                + (f"there are {', '.join(among)}." if among else "this image offers none."),
                allowed=among,
            )
    return tuple(dict.fromkeys(value))
