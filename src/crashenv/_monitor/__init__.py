"""The monitor: the program's parent, which keeps its reports.

Here is what all of it needs: its options, what it leaves to the program, and its messages.
"""

import os
import sys

import crashenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crashenv._monitor.program import Dispositions
    from crashenv._monitor.receivers import Receiver

_PATIENCE = 100  # ms
_LONGEST = 1000  # bytes; up to PIPE_BUF, a write does not block after poll(2) allowed it
_LONGEST_TEXT = 300  # characters


class Options:
    """``command`` is the command to run.

    ``store`` is the folder of the records, or None for the user's own; it keeps the
    newest ``most_records`` and ``most_bytes`` of them. ``receivers`` are functions that
    return a receiver of the records; they are called once, before the program starts, so
    their imports cost each start. With ``quiet``, no line is printed for each crash.
    """

    def __init__(self, command: "Sequence[str]") -> None:
        self.command = list(command)
        self.store: str | None = None
        self.most_records: int | None = None
        self.most_bytes: int | None = None
        self.receivers: list[Callable[[Dispositions], Receiver]] = []
        self.capture_stderr = False
        self.quiet = False
        self.variable = ""
        self.dump_on_term: float | None = None
        self.earlier: int | str | None = None


def leave_to_the_program() -> "int | str | None":
    """Undo the effects of PYTHONPATH, PYDEBUG and "python -m" here: they are for the program.

    Return the crash output that was set, which also gets the program's reports: a
    descriptor, or the name of a file with ``%p`` in it; None if there is none. A module of
    the program may have the same name as one of the standard library.
    """
    # They are absolute in sys.path, unless site was not loaded.
    not_ours = {"", *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    try:
        not_ours |= {os.path.abspath(path) for path in not_ours}
    except FileNotFoundError:  # the working directory was removed
        pass
    sys.path[:] = [path for path in sys.path if path not in not_ours]
    output = crashenv._state.output
    if output is None:
        return None
    from crashenv._seldom.settings import parse, variable

    asked, _ = parse(os.environ.get(variable(os.environ), ""))
    earlier: int | str | None = asked.path
    if earlier is None and output.fd is not None and output.fd >= 0:
        earlier = os.dup(output.fd)
    if output.at_exit is not None:
        output.at_exit()
    crashenv.set_crash_output(None)
    return earlier


def say(text: str) -> None:
    """Write a line to stderr, unless nobody reads it."""
    line = _escaped(text).encode("utf-8", "backslashreplace")[:_LONGEST]
    try:
        if os.name == "nt":  # has no poll
            os.write(2, b"crashenv: %s\r\n" % line)
            return
        if _is_read():
            os.write(2, b"crashenv: %s\n" % line)
    except OSError:
        pass


def _is_read() -> bool:
    try:
        from select import POLLOUT, poll
    except ImportError:  # no descriptor is left to load it with, and no program to keep waiting
        return True
    stderr = poll()
    stderr.register(2, POLLOUT)
    return bool(stderr.poll(_PATIENCE))


def printable(text: str) -> str:
    """Return one line that cannot control a terminal."""
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return _escaped(short)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
