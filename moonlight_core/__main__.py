"""``python -m moonlight_core``: the command line."""

import sys

from moonlight_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
