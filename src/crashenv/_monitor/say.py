"""Messages of the monitor."""

import os
import select

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
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(_PATIENCE):
            os.write(2, b"crashenv: %s\n" % line)
    except OSError:
        pass


def printable(text: str) -> str:
    """Return one line that cannot control a terminal."""
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return _escaped(short)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
