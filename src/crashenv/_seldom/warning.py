"""The one-line warning about wrong settings."""

import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_NAMED = 3
_LONGEST_ITEM = 60
_LONGEST_LINE = 4096  # PIPE_BUF: does not block if poll(2) says that a pipe is ready
_TIMEOUT = 1000  # ms


def warn(variable: str, problems: "Sequence[tuple[str, str]]", on: bool) -> None:
    """Print each ``(item, reason)``, without using ``sys.stderr``, which is the program's.

    Text that a TextIOWrapper could not flush would turn exit status 0 into 120.
    """
    named = ["%s: %s" % (_printable(item), why) for item, why in problems[-_MOST_NAMED:]]
    if len(problems) > _MOST_NAMED:
        named.append("and %d more" % (len(problems) - _MOST_NAMED))
    end = "ignored" if on else "crash output is off"
    line = "crashenv: %s: %s; %s\n" % (variable, ", ".join(named), end)
    try:
        stderr = sys.stderr.fileno()
        if os.name == "nt":  # it has no poll, and descriptors 0 to 2 are in binary mode
            line = line.replace("\n", os.linesep)
            is_ready = True
        else:
            poll = select.poll()
            poll.register(stderr, select.POLLOUT)
            is_ready = bool(poll.poll(_TIMEOUT))
        if is_ready:
            os.write(stderr, line.encode("ascii", "backslashreplace")[:_LONGEST_LINE])
    except (AttributeError, OSError, ValueError):  # sys.stderr is None, closed
        pass


def _printable(item: str) -> str:
    text = ascii(item[: _LONGEST_ITEM + 1])[1:-1]
    return text if len(text) <= _LONGEST_ITEM else text[:_LONGEST_ITEM] + "..."
