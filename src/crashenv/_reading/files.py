"""A file's bytes, to its end or for as long as it grows."""

import os
import stat
import time

if os.name == "nt":
    from crashenv._seldom import windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 16
_PAUSE = 0.25  # seconds between two looks at a file that did not grow

STANDARD_INPUT = "-"


def open_shared(path: str, flags: int = 0) -> int:
    """To read; others may rename or remove the file meanwhile. Raises OSError."""
    if os.name == "nt":
        return windows.open_to_read(path)
    return os.open(path, os.O_RDONLY | flags)


def open_file(path: str) -> int:
    """A descriptor to read from; ``-`` is standard input. Raises OSError."""
    if path == STANDARD_INPUT:
        return 0
    fd = open_shared(path)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(21, os.strerror(21), path)
    return fd


def chunks(fd: int) -> "Iterator[bytes]":
    """To the end of the file. Raises OSError."""
    while True:
        data = os.read(fd, CHUNK)
        if not data:
            return
        yield data


class Followed:
    """A file that grows, is rotated away and made anew (as tail(1) -F follows it)."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._path = path
        self._fd = open_file(path)
        self._position = 0

    def chunks(self) -> "Iterator[bytes | None]":
        """What comes, for ever; ``b""`` where nothing comes for now, None where a file ends.

        What is no regular file ends where it ends. Raises OSError.
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
        """Whether to go on from the beginning, of a new file or of this one."""
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
        except OSError:  # rotated away, and not made anew yet
            return False
        # What was written between the last read and the rotation comes first.
        rest = os.read(self._fd, CHUNK)
        if rest:
            os.lseek(self._fd, -len(rest), os.SEEK_CUR)
            os.close(new)
            return False
        os.close(self._fd)
        self._fd, self._position = new, 0
        return True
