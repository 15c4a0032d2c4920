"""Pairing with a session on the cluster, over the service, with the pretend client."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from base64 import b64encode
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from on_cluster import SESSIONS, Api, Node, run, wait_for
from sunshine_standin.standin.client import Client, ClientError

from moonlight_core import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Path("/opt/apptainers/sunshine_xfce4.sif.json")


@pytest.fixture(autouse=True)
def only_with_the_standin() -> None:
    """The pretend client speaks to the stand-in alone; docs/sunshine.md tells of the real one."""
    version = json.loads(RECORD.read_text("utf-8"))["sunshine_version"]
    if "standin" not in version:
        pytest.skip(f"the image has the real Sunshine {version}")


@attrs.frozen
class Desktop:
    """A running session of alice's."""

    alice: Api
    session: dict[str, Any]

    def __call__(self, method: str, what: str, body: Any = None) -> tuple[int, Any]:
        """A request of alice's about it."""
        return self.alice(method, f"{SESSIONS}/{self.session['session_id']}/{what}", body)

    def client(self, folder: Path) -> Client:
        """A client that reaches it as ``connect`` says."""
        return Client(self.session["connect"]["host"], self.session["connect"]["port"], folder)


@pytest.fixture
def desktop(api: Callable[[str], Api]) -> Iterator[Desktop]:
    """A running session; whoever was paired with it is forgotten afterwards, for they persist."""
    alice = api("alice")
    made = Desktop(alice, alice.wait(alice.create("bare")["session_id"], "running"))
    yield made
    for client in made("GET", "clients")[1]["clients"]:
        made("DELETE", f"clients/{client['uuid']}")


def ask(client: Client, pin: str) -> threading.Thread:
    """Let a client ask to be paired; the thread ends when it is, or is not."""

    def pair() -> None:
        try:
            client.pair(pin, 20)
        except ClientError:
            # It has heard that the PIN is another one; the service says the same.
            return

    thread = threading.Thread(target=pair, daemon=True)
    thread.start()
    return thread


def test_a_client_is_paired_and_removed(
    desktop: Desktop, redis_cli: Callable[..., str], tmp_path: Path
) -> None:
    """Its own PIN, then one of ours; what is secret is nowhere."""
    laptop, tv = desktop.client(tmp_path / "laptop"), desktop.client(tmp_path / "tv")
    asking = ask(laptop, "0214")
    status, answer = desktop("POST", "pair", {"pin": "0214", "name": "laptop"})
    assert (status, answer["status"]) == (200, "paired"), answer
    asking.join(10)
    assert laptop.https("/serverinfo").values["PairStatus"] == "1"

    status, offer = desktop("POST", "pair", {"name": "tv"})
    assert (status, offer["status"]) == (202, "waiting"), offer
    assert offer["address"] == desktop.session["connect"]["address"]
    assert desktop("POST", "pair", {"pin": "1234"})[1]["code"] == "pairing_under_way"
    stored = redis_cli("hgetall", keys.pairing(desktop.session["session_id"]))
    ask(tv, offer["pin"]).join(10)
    told = wait_for(lambda: desktop("GET", "pair")[1], lambda seen: seen["status"] != "waiting")
    assert (told["status"], told["client"]["name"]) == ("paired", "tv")
    assert stored.split()[::2] == ["status", "token"]

    *earlier, first, second = desktop("GET", "clients")[1]["clients"]
    assert (first["name"], second["name"], first["enabled"]) == ("laptop", "tv", True)
    assert desktop("DELETE", f"clients/{first['uuid']}")[0] == 200
    assert desktop("DELETE", f"clients/{first['uuid']}")[0] == 404
    assert desktop("GET", "clients")[1]["clients"] == [*earlier, second]
    with pytest.raises(ClientError, match="not paired"):
        laptop.https("/serverinfo")


def test_a_wrong_pin(desktop: Desktop, tmp_path: Path) -> None:
    """Is told, and the right one goes through afterwards."""
    client = desktop.client(tmp_path)
    ask(client, "1234")
    status, answer = desktop("POST", "pair", {"pin": "4321"})
    assert (status, answer["code"]) == (422, "wrong_pin")
    asking = ask(client, "1234")
    assert desktop("POST", "pair", {"pin": "1234"})[0] == 200
    asking.join(10)


def test_credentials_are_the_owners(
    desktop: Desktop, api: Callable[[str], Api], redis_cli: Callable[..., str]
) -> None:
    """They open the web interface; nobody else gets them, and they lie about nowhere."""
    session_id = desktop.session["session_id"]
    for user in ("bob", "carol"):
        assert api(user)("GET", f"{SESSIONS}/{session_id}/credentials")[0] == 404
    status, credentials = desktop("GET", "credentials")
    assert status == 200
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    place = credentials["url"].removeprefix("https://")
    connection = HTTPSConnection(place, timeout=10, context=context)
    login = b64encode(f"{credentials['username']}:{credentials['password']}".encode()).decode()
    with contextlib.closing(connection):
        connection.request("GET", "/api/clients/list", headers={"Authorization": f"Basic {login}"})
        assert connection.getresponse().status == 200
    shown = redis_cli("hgetall", keys.session(session_id))
    shown += run("scontrol", "show", "job", str(desktop.session["job_id"]))
    shown += Path(f"/scratch/sunshine_logs/{session_id}.log").read_text()
    shown += run("sh", "-c", "cat /opt/moonlight/backend_moonlight_8004/logs/*")
    assert credentials["password"] not in shown


def test_a_sunshine_that_hangs_is_told_in_time(desktop: Desktop, nodes: dict[str, Node]) -> None:
    """And the service answers others meanwhile."""
    node = nodes[desktop.session["slurm_node"]]
    listener = node.run("ss", "-Hlntp", f"sport = :{desktop.session['sunshine_port'] + 1}")
    pid = listener.partition("pid=")[2].partition(",")[0]
    node.run("kill", "-STOP", pid)
    try:
        begin = time.monotonic()
        status, answer = desktop("GET", "clients")
        assert (status, answer["code"]) == (503, "sunshine_unreachable")
        assert time.monotonic() - begin < 8
        assert desktop.alice.get(desktop.session["session_id"])["status"] == "running"
    finally:
        node.run("kill", "-CONT", pid)
    assert desktop("GET", "clients")[0] == 200
