"""Crash records for a listening program: a pipe for a child process, a file, raw bytes."""

import os

from crashenv import _parent
from crashenv._reading import build, files
from crashenv._reading.frames import Splitter
from crashenv._reading.logs import Log

if os.name == "nt":
    from crashenv import _parent_windows
else:
    from select import POLLIN, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from crashenv._reading.frames import Frame
    from crashenv.records import Record

_CHUNK = 1 << 16
_QUIET = 500  # milliseconds without a byte, after which a dump is complete


class Reader:
    """Accepts the bytes of a crash output, in pieces of any size, and returns records.

    This is for programs that read by other means, such as asyncio. A report is returned as
    soon as it is complete. A native dump has no end mark: call ``flush`` when nothing has
    come for half a second.
    """

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, data: bytes) -> "list[Record]":
        """Return the records that ``data`` completes."""
        return _records(self._splitter.feed(data))

    def flush(self) -> "list[Record]":
        """Return the records that are complete if nothing follows for a while."""
        return _records(self._splitter.flush())

    def close(self) -> "list[Record]":
        """Return the rest at the end of the stream, including reports that were cut off."""
        return _records(self._splitter.close())


def read(path: "str | os.PathLike[str]", *, follow: bool = False) -> "Iterator[Record]":
    """Yield the records of a crash output's file, or of a log with reports in it.

    With ``follow`` it continues for ever, as the file grows, is rotated and created again.
    ``"-"`` is standard input. Raises OSError, whose ``filename`` is the path.
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
    """A crash output for a child process, and an iterator over its records.

    The child inherits ``fd``, and ``env()`` is its environment::

        with crashenv.Pipe() as pipe:
            child = subprocess.Popen(command, env=pipe.env(), pass_fds=[pipe.fd])
            for record in pipe:
                print(record["summary"])

    On Windows use ``handle`` instead of ``fd``, as in
    ``STARTUPINFO(lpAttributeList={"handle_list": [pipe.handle]})``; ``fd`` is -1.

    Iterating closes ``fd`` in this process. It ends when the last process that inherited it
    has ended or closed it. Raises OSError if the pipe cannot be created.
    """

    def __init__(self) -> None:
        self.fd = self._source = -1
        self._reader = Reader()
        if os.name == "nt":
            self._pipe = _parent_windows.Source()
        else:
            self._source, self.fd = _parent.open_pair()

    @property
    def handle(self) -> int:
        """The handle for a child on Windows; 0 once it is closed. AttributeError elsewhere."""
        return self._pipe.passed

    def env(self, base: "Mapping[str, str] | None" = None) -> "dict[str, str]":
        """Return ``base``, or ``os.environ``, changed so that a Python child writes to ``fd``.

        Raises OSError once ``fd`` is closed.
        """
        if os.name == "nt":
            return _parent_windows.environment(self._pipe, base)
        return _parent.environment(self.fd, base)

    def __iter__(self) -> "Iterator[Record]":
        self._close_passed()
        for data in self._handles_chunks() if os.name == "nt" else self._chunks():
            yield from self._reader.flush() if data is None else self._reader.feed(data)
        yield from self._reader.close()

    def _chunks(self) -> "Iterator[bytes | None]":
        """Yield the bytes to the end, and None when nothing has come for a while."""
        waiting = poll()
        waiting.register(self._source, POLLIN)
        is_flushed = True
        while self._source >= 0:
            if not waiting.poll(None if is_flushed else _QUIET):
                is_flushed = True
                yield None
                continue
            data = os.read(self._source, _CHUNK)
            if not data:
                return
            is_flushed = False
            yield data

    def _handles_chunks(self) -> "Iterator[bytes | None]":
        """The same on Windows."""
        is_flushed = True
        while True:
            if not self._pipe.wait(_parent_windows.INFINITE if is_flushed else _QUIET):
                is_flushed = True
                yield None
                continue
            data = self._pipe.take()
            if not data:
                return
            is_flushed = False
            yield data

    def _close_passed(self) -> None:
        if os.name == "nt":
            self._pipe.close_passed()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close both ends. A child that is still running has no crash output then."""
        self._close_passed()
        if os.name == "nt":
            self._pipe.close()
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
