"""What Sunshine finds out at its start and before each launch: a display, and an encoder for it."""

import os

from .config import Config
from .journal import Journal
from .x11 import DisplayError, open_display


class Video:
    """Looks for a display and "finds" an encoder; only the display is really looked for.

    Hardware encoders are never found here. Where the configured one is missing, Sunshine goes on
    to the others and ends with software encoding; so does this. `standin_encoder = none` finds
    none at all.
    """

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal

    def _capture(self) -> bool:
        if self._config.capture not in {"", "x11"}:
            self._journal.error("Unable to initialize capture method")
            return False
        if os.environ.get("WAYLAND_DISPLAY"):
            self._journal.error("Unable to initialize capture method")
            return False
        self._journal.info("Screencasting with X11")
        try:
            screen = open_display()
        except DisplayError as error:
            self._journal.error("Could not open X11 display")
            self._journal.debug(str(error))
            return False
        self._journal.info("Detecting displays")
        self._journal.info("Detected display: screen (id: 0)screen connected: true")
        self._journal.debug(f"Screen of {screen.width}x{screen.height}")
        return True

    def probe(self) -> bool:
        """Look for a display and an encoder, and log what Sunshine logs; tell whether both are."""
        wanted = self._config.encoder
        works = self._capture() and self._config.own.get("encoder") != "none"
        if wanted and wanted != "software":
            self._journal.info(f"Trying encoder [{wanted}]")
            self._journal.info(f"Encoder [{wanted}] failed")
        if wanted and (wanted != "software" or not works):
            self._journal.error(f"Couldn't find any working encoder matching [{wanted}]")
        self._journal.info(
            "// Testing for available encoders, this may generate errors. "
            "You can safely ignore those errors. //"
        )
        self._journal.info("Trying encoder [software]")
        if not works:
            self._journal.info("Encoder [software] failed")
            self._journal.fatal("Unable to find display or encoder during startup.")
            self._journal.fatal("Please check that a display is connected and powered on.")
            return False
        self._journal.info("")
        self._journal.info("// Ignore any errors mentioned above, they are not relevant. //")
        self._journal.info("")
        self._journal.info("Found H.264 encoder: libx264 [software]")
        if self._config.hevc_mode > 1:
            self._journal.info("Found HEVC encoder: libx265 [software]")
        if self._config.av1_mode > 1:
            self._journal.info("Found AV1 encoder: libsvtav1 [software]")
        return True
