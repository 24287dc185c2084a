"""``crashenv path``: print the folder for PYTHONPATH."""

from crashenv._cli.options import Command
from crashenv._parent import folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values

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


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _print)


def _print(values: "Values") -> int:
    print(folder())
    return 0
