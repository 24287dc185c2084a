"""What people see: no control characters but our own colours, and a pager for what is long."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_RED, _BOLD, _DIM, _END = "\033[1;31m", "\033[1m", "\033[2m", "\033[0m"
_PAGER = "less"
_PAGER_OPTIONS = "FRX"  # ends where one screen is enough, shows colours, leaves the text there
_DEFAULT_WIDTH = 80


def printable(text: str) -> str:
    """``text`` without a character that could steer a terminal; newlines are escaped too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


class Style:
    """Colours, if ``stream`` is to have them (https://no-color.org, https://force-color.org)."""

    def __init__(self, stream: "TextIO") -> None:
        if os.environ.get("NO_COLOR"):
            self.is_on = False
        elif os.environ.get("FORCE_COLOR"):
            self.is_on = True
        else:
            self.is_on = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def error(self, text: str) -> str:
        return self._in(_RED, text)

    def strong(self, text: str) -> str:
        return self._in(_BOLD, text)

    def weak(self, text: str) -> str:
        return self._in(_DIM, text)

    def _in(self, colour: str, text: str) -> str:
        return colour + text + _END if self.is_on and text else text


def width() -> "int | None":
    """The terminal's columns; None if standard output is none."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(1).columns or _DEFAULT_WIDTH
    except OSError:
        return _DEFAULT_WIDTH


def write(text: str) -> None:
    """To standard output, whatever its encoding cannot say."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def page(text: str) -> None:
    """Through $PAGER or less(1), if standard output is a terminal."""
    pager = os.environ.get("PAGER", _PAGER)
    if not pager.strip() or pager.strip() == "cat" or not sys.stdout.isatty():
        write(text)
        return
    import signal
    import subprocess

    # A pager that has ended already is no reason to end: it may not have been found.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    variables = {"LESS": _PAGER_OPTIONS, **os.environ}
    try:
        process = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE, env=variables)
    except OSError:
        write(text)
        return
    process.communicate(text.encode("utf-8", "backslashreplace"))
    if process.returncode == 127:  # not found (sh(1))
        write(text)
