"""``python -m moonlight_http``: the service."""

import sys

from moonlight_http.server import main

if __name__ == "__main__":
    sys.exit(main())
