"""Output to a terminal: no control characters except our own colours, and a pager."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

_RED, _BOLD, _DIM, _END = "\033[1;31m", "\033[1m", "\033[2m", "\033[0m"
_PAGER = "less"
_PAGER_OPTIONS = "FRX"  # quit if one screen is enough, show colours, leave the text on the screen
_DEFAULT_WIDTH = 80
_DELAY, _EVERY = 2.0, 0.2  # seconds


def printable(text: str) -> str:
    """Escape all characters that could control a terminal, also newlines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


class Style:
    """Colours, if ``stream`` should have them (https://no-color.org, https://force-color.org)."""

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


class Progress:
    """A line on standard error about long work; not in a pipe, nor if ``quiet``.

    It appears after two seconds and is erased at the end.
    """

    def __init__(self, command: str, quiet: bool) -> None:
        import time

        self._command = command
        self._is_on = not quiet and sys.stderr.isatty()
        self._now = time.monotonic
        self._due = self._now() + _DELAY
        self._begun = 0.0
        self._last = 0
        self._is_shown = False
        self.begin("", 0, "")

    def begin(self, doing: str, whole: int, unit: str) -> None:
        """Begin work of ``whole`` units, 0 if unknown; ``bytes`` are shown as MB."""
        self._doing, self._whole, self._unit = doing, whole, unit
        self._begun, self._last = self._now(), 0

    def at(self, done: int) -> None:
        """Show that ``done`` units are done; each ``begin`` restarts at 0."""
        self._last = done
        if self._is_on and self._now() >= self._due:
            self._due = self._now() + _EVERY
            self._is_shown = True
            text = "%s: %s" % (self._command, self._state())
            try:
                columns = os.get_terminal_size(2).columns or _DEFAULT_WIDTH
            except OSError:
                columns = _DEFAULT_WIDTH
            _to_stderr("\r%s\033[K" % text[: columns - 1])

    def add(self, more: int) -> None:
        self.at(self._last + more)

    def _state(self) -> str:
        rate = self._last / max(0.001, self._now() - self._begun)
        size = 1e6 if self._unit == "bytes" else 1
        unit = "MB" if self._unit == "bytes" else self._unit
        text = "%s %.0f" % (self._doing, self._last / size)
        if self._whole:
            text += " of %.0f" % (self._whole / size)
        text += " %s, %.0f %s/s" % (unit, rate / size, unit)
        if self._whole > self._last and rate:
            text += ", %.0f s left" % ((self._whole - self._last) / rate)
        return text

    def end(self) -> None:
        if self._is_shown:
            _to_stderr("\r\033[K")
            self._is_shown = False


def sizes(paths: "Sequence[str]") -> int:
    """Return the total size of the files, 0 if one is not known."""
    whole = 0
    for path in paths:
        if not os.path.isfile(path):
            return 0
        whole += os.path.getsize(path)
    return whole


def _to_stderr(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # the terminal has gone
        pass


def width() -> "int | None":
    """Return the terminal's width; None if standard output is not a terminal."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(1).columns or _DEFAULT_WIDTH
    except OSError:
        return _DEFAULT_WIDTH


def write(text: str) -> None:
    """Write to standard output, escaping what its encoding cannot represent."""
    if not text.isascii():
        encoding = sys.stdout.encoding or "ascii"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(text)


def page(text: str) -> None:
    """Show the text in $PAGER or less(1), if standard output is a terminal."""
    pager = os.environ.get("PAGER", _PAGER if os.name == "posix" else "")
    if not pager.strip() or pager.strip() == "cat" or not sys.stdout.isatty():
        write(text)
        return
    import signal
    import subprocess

    # The pager may end early, or not be found: that must not end this process.
    if hasattr(signal, "SIGPIPE"):
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
