"""``crashenv collect``: a monitor that reads what its parent writes."""

import os
import sys

from crashenv._cli import run
from crashenv._cli.options import Command, UsageError
from crashenv._monitor import leave_to_the_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values

_COMMAND = Command(
    "collect",
    "[OPTION...]",
    """\
Keep the reports that arrive on standard input, and outlive their writers.

For a program that cannot be wrapped by "crashenv run": it starts this with a pipe
and writes its crashes there, or lets crashenv.start_monitor() do both. At the end
of the pipe, this reports how its parent died, and ends.
""",
    run.KEEPING,
    """\
exit status:
  0  standard input was read to its end
  2  the options are wrong

example:
  PYDEBUG=crashfd=3 python app.py 3> >(crashenv collect)
""",
    most=0,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _collect)


def _collect(values: "Values") -> int:
    if sys.platform not in ("linux", "win32"):
        raise UsageError("needs Linux or Windows")
    try:
        os.fstat(0)
    except OSError:
        raise UsageError("standard input is closed") from None
    leave_to_the_program()
    options = run.options(values)
    options.command = []
    if sys.platform == "win32":
        from crashenv._monitor.windows import collect

        collect(options)
    else:
        from crashenv._monitor import collect as collecting

        collecting.run(options)
    return 0
