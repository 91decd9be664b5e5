"""``python -m ftppool``: the same as the command ``ftppool``."""

from __future__ import annotations

import sys

from ftppool.cli import main

if __name__ == "__main__":
    sys.exit(main())
