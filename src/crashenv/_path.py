"""``crashenv path``, and the folder that it prints."""

import os

import crashenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def folder() -> str:
    """The folder for PYTHONPATH that activates this copy without an installation."""
    package = os.path.dirname(os.path.abspath(crashenv.__file__))
    inside = os.path.join(package, "sitecustomize")
    if os.path.isdir(inside):
        return inside
    # A checkout, or an editable installation of one.
    return os.path.join(os.path.dirname(os.path.dirname(package)), "sitecustomize")


def configure(parser: "argparse.ArgumentParser") -> None:
    parser.description = "Print the folder that activates crashenv when it is on PYTHONPATH."


def main(options: "argparse.Namespace") -> int:
    print(folder())
    return 0
