"""``crashenv path``, and the folder that it prints."""

import os

import crashenv
from crashenv._options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._options import Values

_COMMAND = Command(
    "path",
    "",
    "Print the folder that activates crashenv when it is on PYTHONPATH.\n",
    (),
    """\
example:
  PYTHONPATH=$(crashenv path) PYDEBUG=crashfd=3 python app.py 3>crash.log
""",
    most=0,
)


def folder() -> str:
    """The folder for PYTHONPATH that activates this copy without an installation."""
    package = os.path.dirname(os.path.abspath(crashenv.__file__))
    inside = os.path.join(package, "sitecustomize")
    if os.path.isdir(inside):
        return inside
    # A checkout, or an editable installation of one.
    return os.path.join(os.path.dirname(os.path.dirname(package)), "sitecustomize")


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _print)


def _print(values: "Values") -> int:
    print(folder())
    return 0
