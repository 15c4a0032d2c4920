"""What can be chosen for a desktop: every wrong value has a sentence, and none gets further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from session_factory import session

from moonlight_core.bus import Mark
from moonlight_core.errors import InvalidRequest, SettingsError
from moonlight_core.gateway import SlurmJob
from moonlight_core.image_record import ImageRecord, image_record
from moonlight_core.images import Image, catalogue
from moonlight_core.models import Session, SessionRequest
from moonlight_core.options import OPTIONS, chosen, offers
from moonlight_core.settings import SessionSettings
from moonlight_core.sunshine_conf import SINCE, apps_json, input_of, knows, options_text

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = Image(
    id="xfce4",
    name="XFCE4",
    sif=Path("/opt/apptainers/sunshine_xfce4.sif"),
    keyboard="de",
    applications={"Terminal": "xfce4-terminal", "Files": "thunar"},
    optional_binds=("/data/a", "/data/b:/b:ro"),
    choices={"encoder": ("auto", "software", "nvenc")},
)
RECORD = ImageRecord(
    sunshine_version="2026.516.143833",
    locales=frozenset({"C.UTF-8", "ko_KR.UTF-8"}),
    keyboards=frozenset({"de", "kr", "us", "us(intl)"}),
)


def choose(
    record: ImageRecord = RECORD, limit: int = 0, gpus: int = 1, **wanted: Any
) -> Mapping[str, Any]:
    """The options of a session for which somebody asked this."""
    request = SessionRequest(username="alice", **wanted)
    return chosen(request, IMAGE, record, gpus=gpus, max_bitrate_kbps=limit)


def test_every_option_is_asked_for_and_kept() -> None:
    """The table, the request, the session and the catalogue have the same names."""
    for where in (SessionRequest, Session):
        assert set(OPTIONS) <= {field.name for field in attrs.fields(where)}
    of_image = {field.name for field in attrs.fields(Image)}
    assert set(OPTIONS) <= of_image
    assert set(choose()) == set(OPTIONS)


def test_what_is_not_said_is_the_images() -> None:
    """All its applications, none of the binds that have to be asked for, the site's bitrate."""
    values = choose(limit=50_000)
    assert (values["keyboard"], values["encoder"]) == ("de", "auto")
    assert values["applications"] == ("Terminal", "Files")
    assert values["binds"] == ()
    assert values["max_bitrate_kbps"] == 50_000


def test_what_is_said_counts() -> None:
    """Of everything."""
    wanted = {
        "encoder": "nvenc", "hevc": "off", "av1": "on", "max_bitrate_kbps": 20_000,
        "x_server": "xorg", "keyboard": "us(intl)", "locale": "ko_KR.UTF-8",
        "time_zone": "Asia/Seoul", "audio": False, "binds": ["/data/b:/b:ro"],
        "applications": ["Files"],
    }  # fmt: skip
    values = choose(**wanted)
    assert values == wanted | {"binds": ("/data/b:/b:ro",), "applications": ("Files",)}


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("encoder", "quicksync", "one of auto, software, nvenc, vaapi"),
        ("encoder", "vaapi", "for the image xfce4 it is one of auto, software, nvenc"),
        ("encoder", ["nvenc"], "a string is wanted"),
        ("hevc", True, "a string is wanted"),
        ("x_server", "xwayland", "one of xvfb, xorg"),
        ("keyboard", "us; rm -rf /", "it looks like de or us(intl)"),
        ("keyboard", "fr", "does not have it, but de, kr, us, us(intl)"),
        ("locale", "ko_KR", "it looks like ko_KR.UTF-8"),
        ("locale", "de_DE.UTF-8", "does not have it, but C.UTF-8, ko_KR.UTF-8"),
        ("time_zone", "../../etc/passwd", "it looks like Asia/Seoul"),
        ("time_zone", "Asia", "it looks like Asia/Seoul"),
        ("time_zone", "Mars/Olympus", "it looks like Asia/Seoul"),
        ("audio", "yes", "true or false"),
        ("max_bitrate_kbps", 100, "500 to 500000"),
        ("max_bitrate_kbps", "20M", "a whole number"),
        ("max_bitrate_kbps", True, "a whole number"),
        ("binds", "/data/a", "a list of strings"),
        ("binds", ["/etc"], "there are /data/a, /data/b:/b:ro"),
        ("applications", ["Steam"], "there are Terminal, Files"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object, part: str) -> None:
    """With the field and what it may be."""
    with pytest.raises(InvalidRequest) as refusal:
        choose(**{name: value})
    assert refusal.value.field == name
    assert part in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_what_belongs_to_more_than_one_value() -> None:
    """A limit of the site, a GPU for its encoder, a key that an older Sunshine does not know."""
    with pytest.raises(InvalidRequest, match="500 to 50000") as refusal:
        choose(limit=50_000, max_bitrate_kbps=50_001)
    assert refusal.value.limit == 50_000
    with pytest.raises(InvalidRequest, match="needs a GPU"):
        choose(encoder="nvenc", gpus=0)
    old = ImageRecord(sunshine_version="2025.122.141614")
    with pytest.raises(InvalidRequest, match=r"has Sunshine 2025\.122\.141614, which does not"):
        choose(old, max_bitrate_kbps=20_000)
    # Where nobody knows what is in the image, the form is all there is.
    assert choose(ImageRecord(), keyboard="fr", max_bitrate_kbps=20_000)["keyboard"] == "fr"


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({"encoder": "gpu"}, "encoder is 'gpu': it is one of auto"),
        ({"encoder": "vaapi", "choices": {"encoder": ["nvenc"]}}, "leaves out"),
        ({"choices": {"encoder": ["magic"]}}, "choices encoder is 'magic'"),
        ({"choices": {"cpus": ["4"]}}, "choices has 'cpus'"),
        ({"choices": {"encoder": "auto"}}, "a list of strings"),
        ({"keyboard": "us,de"}, "keyboard is 'us,de'"),
        ({"time_zone": "Nowhere"}, "time_zone is 'Nowhere'"),
        ({"xorg_conf": "xorg.conf"}, "xorg_conf is xorg.conf"),
        ({"max_bitrate_kbps": -1}, "max_bitrate_kbps is -1"),
        ({"applications": {"Desktop": "x"}}, "Desktop is there already"),
        ({"applications": {"a\nb": "x"}}, "applications has"),
        ({"binds": ["/dev/uinput"]}, "the whole node's"),
        ({"optional_binds": ["/dev:/dev"]}, "the whole node's"),
    ],
)
def test_a_wrong_catalogue_is_refused(table: dict[str, object], part: str) -> None:
    """At the start of the service, by name."""
    with pytest.raises(SettingsError) as refusal:
        catalogue({"xfce4": table}, Path("/opt/apptainers"))
    assert part in str(refusal.value)


def test_the_offer_says_what_may_be_chosen() -> None:
    """For a form: values where they are few, ranges for numbers."""
    offer = offers(IMAGE, SessionSettings(max_bitrate_kbps=9000))
    assert offer["encoder"] == {"default": "auto", "values": ["auto", "software", "nvenc"]}
    assert offer["max_bitrate_kbps"] == {"default": 0, "least": 500, "most": 9000}
    assert offer["applications"]["values"] == ["Terminal", "Files"]
    assert offer["audio"] == {"default": True}
    assert offer["width"]["most"] == 3840


def test_the_record_of_an_image_is_read(tmp_path: Path) -> None:
    """As the build wrote it; what cannot be read is unknown."""
    sif = tmp_path / "sunshine_x.sif"
    assert image_record(sif) == ImageRecord()
    beside = tmp_path / "sunshine_x.sif.json"
    beside.write_text('{"sunshine_version": "2026.516.143833", "locales": ["C.UTF-8"]}')
    assert image_record(sif) == ImageRecord(
        sunshine_version="2026.516.143833", locales=frozenset({"C.UTF-8"})
    )
    for nonsense in ("[]", "{", "[" * 100_000, '{"locales": 1, "sunshine_version": []}'):
        beside.write_text(nonsense)
        assert image_record(sif) == ImageRecord()


def test_a_mark_keeps_the_options() -> None:
    """What a record is rebuilt from after Redis was lost; usual values take no room."""
    wanted = {"encoder": "nvenc", "keyboard": "us(intl)", "audio": False, "max_bitrate_kbps": 9000}
    made = session(**wanted)
    text = Mark.of_session(made).text()
    assert " hevc=" not in text
    job = SlurmJob(job_id=1, name="x", user_id=1, state="RUNNING", admin_comment=text)
    mark = Mark.of_job(job)
    assert mark is not None
    assert Session.parsed(mark.options) == wanted
    nonsense = attrs.evolve(job, admin_comment=f"{text} max_bitrate_kbps=much audio=maybe")
    mark = Mark.of_job(nonsense)
    assert mark is not None
    assert "audio" not in mark.options


def test_what_sunshine_is_told() -> None:
    """Only lines of known keys, each with the first version that has it."""
    text = options_text(session(encoder="nvenc", hevc="off", av1="on", max_bitrate_kbps=9000))
    lines = [line.split(" ", 1) for line in text.splitlines()]
    told = {option.split(" = ")[0]: (since, option) for since, option in lines}
    assert told["encoder"] == ("-", "encoder = nvenc")
    assert told["hevc_mode"] == ("-", "hevc_mode = 1")
    assert told["av1_mode"] == ("-", "av1_mode = 2")
    assert told["max_bitrate"] == ("2025.628", "max_bitrate = 9000")
    assert {name for name, (since, _) in told.items() if since != "-"} == set(SINCE)
    text = options_text(session(audio=False))
    assert "stream_audio = disabled" in text
    assert "encoder" not in text
    assert "max_bitrate" not in text


def test_the_applications_beside_the_desktop() -> None:
    """Names and commands of the catalogue, out of those the session has."""
    apps = json.loads(apps_json(session(applications=("Files",)), IMAGE))["apps"]
    assert [app["name"] for app in apps] == ["Desktop", "Files"]
    assert apps[1]["cmd"] == "thunar"
    assert "cmd" not in apps[0]


@pytest.mark.parametrize(
    ("version", "uinput", "word"),
    [
        ("0.23.1", False, "xtest"),
        ("2025.122.141614", False, "none"),
        ("v2025.924.154138", False, "none"),
        ("2026.516.143833+standin", False, "none"),
        ("2026.816.192458", False, "xtest"),
        ("2026.516.143833", True, "uinput"),
        ("dirty", False, None),
        (None, True, None),
    ],
)
def test_how_input_reaches_the_desktop(
    version: str | None, *, uinput: bool, word: str | None
) -> None:
    """A word and a sentence, by the version at hand."""
    told = input_of(version, uinput=uinput)
    assert (told.split(":")[0] if told else None) == word
    if word == "none":
        assert told is not None
        assert "2026.816 or newer has" in told


def test_an_unknown_version_may_know_every_key() -> None:
    """The script asks it and leaves out what it does not know."""
    assert knows(None, "max_bitrate")
    assert not knows("2025.122.1", "max_bitrate")
    assert knows("2025.628.4510", "max_bitrate")
    assert knows("0.23.1", "encoder")
