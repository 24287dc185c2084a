"""Files for others to read."""

import os

from crashenv._monitor.say import say

_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows


def replace(path: str, text: str) -> None:
    """The file has either the old content or all of ``text``; others may read it.

    The name meanwhile ends in ``.unfinished``: node_exporter reads each ``*.prom``.
    """
    unfinished = "%s.%s.unfinished" % (path, os.urandom(4).hex())
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            with open(fd, "wb") as file:
                file.write(text.encode("utf-8", "backslashreplace"))
            os.replace(unfinished, path)
        except OSError:
            os.unlink(unfinished)
            raise
    except OSError as error:
        say("cannot write %s: %s" % (path, error.strerror or error))


def append(path: str, text: str) -> None:
    """In one piece, as far as the system allows, for others may append too."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        with open(fd, "wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        say("cannot write %s: %s" % (path, error.strerror or error))


def in_memory(content: bytes) -> int:
    """A file in memory, from which a program reads as slowly as it likes. Raises OSError."""
    fd = os.memfd_create("crash.json")
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
