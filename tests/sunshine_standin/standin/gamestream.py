"""The interface for Moonlight clients: port P (HTTP) and, for paired ones, port P-5 (HTTPS)."""

from xml.sax.saxutils import escape

from .apps import Runner
from .config import Config
from .pairing import Pairing, proof
from .state import State
from .streams import Streams
from .video import Video
from .web import Request, Response, xml_response

RTSP_OFFSET = 21
HTTPS_OFFSET = -5
UNAUTHORIZED = "The client is not authorized. Certificate verification failed."
NO_DISPLAY = "Failed to initialize video capture/encoding. Is a display connected and turned on?"


class GameStream:
    """Answers the requests of clients."""

    def __init__(
        self,
        config: Config,
        state: State,
        pairing: Pairing,
        runner: Runner,
        streams: Streams,
        video: Video,
    ) -> None:
        self._config = config
        self._state = state
        self._pairing = pairing
        self._runner = runner
        self._streams = streams
        self._video = video

    def http(self, request: Request) -> Response | None:
        """Answer on port P: who we are, and pairing."""
        if request.method == "GET" and request.path == "/serverinfo":
            return self._serverinfo(request, paired=False)
        if request.method == "GET" and request.path == "/pair":
            return self._pair(request)
        return xml_response(404, message="Not Found")

    def https(self, request: Request) -> Response | None:
        """Answer on port P-5, to clients whose certificate is known."""
        if not self._state.knows(request.certificate):
            return xml_response(401, message=UNAUTHORIZED)
        if request.method == "GET":
            match request.path:
                case "/serverinfo":
                    return self._serverinfo(request, paired="uniqueid" in request.query)
                case "/pair":
                    return self._pair(request)
                case "/applist":
                    return self._applist()
                case "/launch":
                    return self._launch(request)
                case "/resume":
                    return self._resume(request)
                case "/cancel":
                    return self._cancel()
        return xml_response(404, message="Not Found")

    def _serverinfo(self, request: Request, *, paired: bool) -> Response:
        port = self._config.port
        running = self._runner.running()
        return xml_response(
            200,
            {
                "hostname": self._config.sunshine_name,
                "appversion": "7.1.431.-1",
                "GfeVersion": "3.23.0.74",
                "uniqueid": self._state.uniqueid,
                "HttpsPort": port + HTTPS_OFFSET,
                "ExternalPort": port,
                "MaxLumaPixelsHEVC": 0,
                "mac": "00:00:00:00:00:00",
                "LocalIP": "127.0.0.1" if ":" in request.local else request.local,
                "ServerCodecModeSupport": 1,
                "PairStatus": int(paired),
                "currentgame": running,
                "state": "SUNSHINE_SERVER_BUSY" if running else "SUNSHINE_SERVER_FREE",
            },
        )

    def _pair(self, request: Request) -> Response | None:
        query = request.query
        uniqueid = query.get("uniqueid")
        if uniqueid is None:
            return xml_response(400, message="Missing uniqueid parameter")
        match query.get("phrase"):
            case "getservercert":
                return self._server_certificate(uniqueid, query)
            case "pairchallenge":
                return xml_response(200, {"paired": 1})
        if "serverchallengeresp" in query:
            return xml_response(400, {"paired": 0}, message=self._pairing.fail(uniqueid))
        if "standinproof" not in query:
            return xml_response(404, {"paired": 0}, message="Invalid pairing request")
        try:
            paired = self._pairing.finish(uniqueid, query["standinproof"])
        except LookupError as error:
            return xml_response(400, message=str(error))
        return xml_response(200, {"paired": int(paired)})

    def _server_certificate(self, uniqueid: str, query: dict[str, str]) -> Response | None:
        try:
            cert = bytes.fromhex(query.get("clientcert", "")).decode()
        except ValueError:
            return xml_response(400, {"paired": 0}, message="Malformed client certificate")
        attempt = self._pairing.begin(uniqueid, query.get("salt", ""), cert)
        if not self._pairing.wait(attempt):
            return None
        if attempt.failure or attempt.pin is None:
            return xml_response(400, {"paired": 0}, message=attempt.failure)
        return xml_response(
            200,
            {
                "paired": 1,
                "plaincert": self._config.cert.read_bytes().hex().upper(),
                "standinproof": proof(attempt.pin, attempt.salt, "host"),
            },
        )

    def _applist(self) -> Response:
        entries = "".join(
            f"<App><IsHdrSupported>0</IsHdrSupported><AppTitle>{escape(app.name)}</AppTitle>"
            f"<ID>{app.id}</ID></App>"
            for app in self._runner.apps
        )
        return xml_response(200, inner=entries)

    def _session_url(self, request: Request) -> str:
        return f"rtsp://{request.local}:{self._config.port + RTSP_OFFSET}"

    def _launch(self, request: Request) -> Response:
        query = request.query
        if not {"rikey", "rikeyid", "localAudioPlayMode", "appid"} <= query.keys():
            return xml_response(400, {"resume": 0}, message="Missing a required launch parameter")
        if self._runner.running():
            message = "An app is already running on this host"
            return xml_response(400, {"resume": 0}, message=message)
        if not self._streams.count and not self._video.probe():
            return xml_response(503, {"gamesession": 0}, message=NO_DISPLAY)
        app_id = int(query["appid"]) if query["appid"].isdigit() else 0
        if app_id:
            failure = self._runner.launch(app_id, _client_environment(query))
            if failure:
                message = "Failed to start the specified application"
                return xml_response(failure, {"gamesession": 0}, message=message)
        self._streams.expect()
        return xml_response(200, {"sessionUrl0": self._session_url(request), "gamesession": 1})

    def _resume(self, request: Request) -> Response:
        if not self._runner.running():
            return xml_response(503, {"resume": 0}, message="No running app to resume")
        if not {"rikey", "rikeyid"} <= request.query.keys():
            return xml_response(400, {"resume": 0}, message="Missing a required resume parameter")
        if not self._streams.count and not self._video.probe():
            return xml_response(503, {"resume": 0}, message=NO_DISPLAY)
        self._streams.expect()
        return xml_response(200, {"sessionUrl0": self._session_url(request), "resume": 1})

    def _cancel(self) -> Response:
        self._streams.end_all()
        self._runner.terminate()
        return xml_response(200, {"cancel": 1})


def _client_environment(query: dict[str, str]) -> dict[str, str]:
    """Return what applications and their preparations learn about the client's screen."""
    parts = [*query.get("mode", "").split("x"), "0", "0", "0"][:3]
    width, height, fps = (part if part.isdigit() else "0" for part in parts)
    return {
        "SUNSHINE_CLIENT_WIDTH": width,
        "SUNSHINE_CLIENT_HEIGHT": height,
        "SUNSHINE_CLIENT_FPS": fps,
        "SUNSHINE_CLIENT_HDR": "true" if query.get("hdrMode") == "1" else "false",
        "SUNSHINE_CLIENT_GCMAP": query.get("gcmap", "0"),
        "SUNSHINE_CLIENT_HOST_AUDIO": "true" if query["localAudioPlayMode"] == "1" else "false",
        "SUNSHINE_CLIENT_ENABLE_SOPS": "true" if query.get("sops") == "1" else "false",
        "SUNSHINE_CLIENT_AUDIO_CONFIGURATION": "2.0",
        "SUNSHINE_CLIENT_AUDIO_SURROUND_PARAMS": "",
    }
