"""Crash records for a program that listens: a pipe to hand to a child, a file, raw bytes."""

import os
from select import POLLIN, poll

from crashenv import _parent
from crashenv._reading import build, files
from crashenv._reading.frames import Splitter
from crashenv._reading.logs import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from crashenv._reading.frames import Frame
    from crashenv.records import Record

_CHUNK = 1 << 16
_QUIET = 500  # milliseconds without a byte, after which a dump is complete


class Reader:
    """Takes what comes out of a crash output, in pieces of any size; gives records.

    For whoever reads by other means, as asyncio does. A report is given as soon as it
    is complete. A native dump has no end of its own: ``flush`` when nothing has come
    for half a second.
    """

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, data: bytes) -> "list[Record]":
        """The records that are complete with ``data``."""
        return _records(self._splitter.feed(data))

    def flush(self) -> "list[Record]":
        """The records that are complete if nothing follows for a while."""
        return _records(self._splitter.flush())

    def close(self) -> "list[Record]":
        """The rest, at the end of the stream: reports that were cut too."""
        return _records(self._splitter.close())


def read(path: "str | os.PathLike[str]", *, follow: bool = False) -> "Iterator[Record]":
    """The records of a crash output's file, or of a log with reports in it.

    With ``follow`` it goes on for ever as the file grows, is rotated away and made anew.
    ``"-"`` is standard input. Raises OSError, of which ``filename`` is the path.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError("path must be a str or an os.PathLike of one, not %r" % (path,))
    return _followed(name) if follow else _whole(name)


def _whole(path: str) -> "Iterator[Record]":
    log = Log()
    fd = files.open_file(path)
    try:
        for data in files.chunks(fd):
            yield from _records(log.feed(data))
        yield from _records(log.close())
    finally:
        if path != files.STANDARD_INPUT:
            os.close(fd)


def _followed(path: str) -> "Iterator[Record]":
    log = Log()
    for data in files.Followed(path).chunks():
        if data is None:
            yield from _records(log.close())
        else:
            yield from _records(log.feed(data) if data else log.flush())


class Pipe:
    """A crash output for a child process, and an iterator of the records that come out.

    ``fd`` is what the child inherits, ``env()`` its environment::

        with crashenv.Pipe() as pipe:
            child = subprocess.Popen(command, env=pipe.env(), pass_fds=[pipe.fd])
            for record in pipe:
                print(record["summary"])

    Iterating closes ``fd`` here. It ends when the last process that holds the other one
    has ended or closed it. Raises OSError if there can be no pipe.
    """

    def __init__(self) -> None:
        self._source, self.fd = _parent.open_pair()
        self._reader = Reader()

    def env(self, base: "Mapping[str, str] | None" = None) -> "dict[str, str]":
        """``base``, or ``os.environ``, with what makes a Python child write to ``fd``.

        Raises OSError once ``fd`` is closed.
        """
        return _parent.environment(self.fd, base)

    def __iter__(self) -> "Iterator[Record]":
        self._close_passed()
        waiting = poll()
        waiting.register(self._source, POLLIN)
        is_flushed = True
        while self._source >= 0:
            if not waiting.poll(None if is_flushed else _QUIET):
                is_flushed = True
                yield from self._reader.flush()
                continue
            data = os.read(self._source, _CHUNK)
            if not data:
                break
            is_flushed = False
            yield from self._reader.feed(data)
        yield from self._reader.close()

    def _close_passed(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close both ends. A child that still writes goes on without a crash output."""
        self._close_passed()
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    def __enter__(self) -> "Pipe":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        self.close()


def _records(frames: "list[Frame]") -> "list[Record]":
    return [build.record(frame) for frame in frames]
