"""The one line that a wrong PYDEBUG costs."""

import sys

from crashenv import _writer
from crashenv._descriptor import PrivateCopy
from crashenv._settings import VARIABLE

_MOST_TOLD = 3
_LONGEST_ITEM = 60
_TIMEOUT = 1  # second


def warn(problems: "list[tuple[str, str]]", on: bool) -> None:
    """Tell of each ``(item, reason)``, past ``sys.stderr``, whose state stays the program's.

    Text that a TextIOWrapper could not flush would turn exit status 0 into 120.
    """
    told = ["%s: %s" % (_printable(item), why) for item, why in problems[-_MOST_TOLD:]]
    if len(problems) > _MOST_TOLD:
        told.append("and %d more" % (len(problems) - _MOST_TOLD))
    end = "ignored" if on else "crash output is off"
    line = "crashenv: %s: %s; %s\n" % (VARIABLE, ", ".join(told), end)
    if sys.stderr is None:
        return
    stderr = PrivateCopy(sys.stderr.fileno())
    _writer.write(stderr, line.encode("ascii", "backslashreplace"), _TIMEOUT)
    stderr.close()


def _printable(item: str) -> str:
    text = ascii(item[: _LONGEST_ITEM + 1])[1:-1]
    return text if len(text) <= _LONGEST_ITEM else text[:_LONGEST_ITEM] + "..."
