"""The least a service of this kind costs: an empty Falcon handler on waitress.

``python -m benchmarks.empty PORT``
"""

from __future__ import annotations

import logging
import sys

import falcon
import waitress


class Empty:
    """Answers with an empty object."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        resp.media = {}


def main() -> None:
    """Serve until the process is ended."""
    logging.getLogger("waitress").setLevel("ERROR")
    app = falcon.App()
    app.add_route("/", Empty())
    waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=16)


if __name__ == "__main__":
    main()
