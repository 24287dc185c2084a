"""Read a file's bytes, to its end or as it grows."""

import os
import stat
import time

if os.name == "nt":
    from crashenv._seldom import windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 16
_PAUSE = 0.25  # seconds between two checks of a file that did not grow

STANDARD_INPUT = "-"


def open_shared(path: str, flags: int = 0) -> int:
    """Open for reading; the file may be renamed or removed meanwhile. Raise OSError."""
    if os.name == "nt":
        return windows.open_to_read(path)
    return os.open(path, os.O_RDONLY | flags)


def open_file(path: str) -> int:
    """Return a descriptor to read from; ``-`` is standard input. Raise OSError."""
    if path == STANDARD_INPUT:
        return 0
    fd = open_shared(path)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(21, os.strerror(21), path)
    return fd


def chunks(fd: int) -> "Iterator[bytes]":
    """Yield the bytes to the end of the file. Raise OSError."""
    while True:
        data = os.read(fd, CHUNK)
        if not data:
            return
        yield data


class Followed:
    """A file that grows, is rotated and created again, followed as by tail(1) -F."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._path = path
        self._fd = open_file(path)
        self._position = 0

    def chunks(self) -> "Iterator[bytes | None]":
        """Yield new bytes for ever; ``b""`` if nothing comes for now, None at a file's end.

        A file that is not a regular one is read to its end. Raises OSError.
        """
        while True:
            data = os.read(self._fd, CHUNK)
            self._position += len(data)
            if data:
                yield data
                continue
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                yield None
                return
            if self._has_ended():
                yield None
                continue
            yield b""
            time.sleep(_PAUSE)

    def _has_ended(self) -> bool:
        """Return whether to continue at the beginning, of a new file or of this one."""
        status = os.fstat(self._fd)
        if status.st_size < self._position:
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._position = 0
            return True
        if self._path == STANDARD_INPUT:
            return False
        try:
            now = os.stat(self._path)
            if (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino):
                return False
            new = open_file(self._path)
        except OSError:  # rotated, and not created again yet
            return False
        # Bytes written between the last read and the rotation come first.
        rest = os.read(self._fd, CHUNK)
        if rest:
            os.lseek(self._fd, -len(rest), os.SEEK_CUR)
            os.close(new)
            return False
        os.close(self._fd)
        self._fd, self._position = new, 0
        return True
