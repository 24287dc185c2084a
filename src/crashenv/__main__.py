"""``python -m crashenv``."""

import sys

from crashenv._cli import main

if __name__ == "__main__":
    sys.exit(main())
