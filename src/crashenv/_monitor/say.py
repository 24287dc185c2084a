"""Messages of the monitor."""

import os

_PATIENCE = 100  # ms
_LONGEST = 1000  # bytes; up to PIPE_BUF, a write does not block after poll(2) allowed it
_LONGEST_TEXT = 300  # characters


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
