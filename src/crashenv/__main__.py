"""``python -m crashenv``."""

import argparse
import os
import sys

import crashenv


def folder() -> str:
    """The folder for PYTHONPATH that activates this copy without an installation."""
    package = os.path.dirname(os.path.abspath(crashenv.__file__))
    inside = os.path.join(package, "sitecustomize")
    if os.path.isdir(inside):
        return inside
    # A checkout, or an editable installation of one.
    return os.path.join(os.path.dirname(os.path.dirname(package)), "sitecustomize")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="crashenv", description="Every crash of a Python program on one more descriptor."
    )
    parser.add_argument("--version", action="version", version="crashenv " + crashenv.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("path", help="print the folder to put on PYTHONPATH")
    parser.parse_args()
    print(folder())
    return 0


if __name__ == "__main__":
    sys.exit(main())
