"""Files that other programs read."""

import os

from crashenv._monitor import say

_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)


def replace(path: str, text: str) -> None:
    """Write ``text`` to the file in one step; other users may read it.

    The temporary name ends in ``.unfinished``, because node_exporter reads each ``*.prom``.
    """
    if os.path.lexists(path) and not os.path.isfile(path):  # /dev/stdout must not be replaced
        append(path, text)
        return
    path = os.path.realpath(path)
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
    """Append in one piece, as far as the system allows: other processes may append too."""
    # Without O_NONBLOCK, this would wait until somebody opens a FIFO for reading (fifo(7)).
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY | _NONBLOCK
    try:
        fd = os.open(path, flags, 0o666)
        with open(fd, "wb") as file:
            if _NONBLOCK:
                os.set_blocking(fd, True)
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        say("cannot write %s: %s" % (path, error.strerror or error))


def in_memory(content: bytes) -> int:
    """Make a file in memory, which a program may read as slowly as it likes. Raise OSError."""
    fd = os.memfd_create("crash.json")
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
