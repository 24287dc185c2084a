"""The records to be listed and shown: those of a store, or those that files hold."""

import os
import stat
import sys

from crashenv import _store
from crashenv._reading import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Optional

    from crashenv.records import Record

    Row = dict[str, Any]


SCHEMA = 1  # that we can read
# What stands in a record before its header, and so in the first bytes of its file.
_FRONT = 4096  # bytes
_ADDED = ("seen", "first", "until")  # to a row
_LARGEST_RECORD = 1 << 26  # bytes
_FRONT_START = '{"schema":%d,' % SCHEMA
_FRONT_END = b'"header":'
_JSON_START = b'{"schema":'
_LONGEST_LINE = 1 << 26  # bytes; a report of 4 MiB, all control characters, has 24 MiB of text


class Problems:
    """What could not be read; told once each, at the end."""

    def __init__(self, command: str) -> None:
        self.unreadable = False
        self._command = command
        self._newer = 0
        self._foreign = 0

    def add_error(self, path: str, error: OSError) -> None:
        self.unreadable = True
        self._tell("%s: %s" % (path, error.strerror or error))

    def add_file_of_another_kind(self, path: str) -> None:
        self._tell("%s: is no regular file, and left out" % path)

    def add_newer(self) -> None:
        self._newer += 1

    def add_foreign(self) -> None:
        self._foreign += 1

    def tell(self) -> None:
        if self._newer:
            self._tell("skipped %d of a newer crashenv, of schema %d" % (self._newer, SCHEMA + 1))
        if self._foreign:
            self._tell("skipped %d that are no records" % self._foreign)

    def _tell(self, text: str) -> None:
        sys.stdout.flush()
        text = text if text.isprintable() else ascii(text)[1:-1]
        sys.stderr.write("crashenv %s: %s\n" % (self._command, text))


def rows(
    files: "Sequence[str]",
    folder: "Optional[str]",
    problems: Problems,
    tracebacks: bool = False,
    tell: "Optional[Callable[[int], None]]" = None,
) -> "list[Row]":
    """The records, newest last; of those of a store only the keys before the header.

    Each of ``files`` may be a folder: a store, or one of crash outputs and logs. A row
    without a time may have ``until``, the latest that it can be. ``tell`` is called with
    the number of bytes that are read next.
    """
    if not files:
        return _of_store(folder or _store.default_folder(), problems)
    tell = tell or _tell_nobody
    found: list[Row] = []
    for path in files:
        if os.path.isdir(path):
            found += _of_store(path, problems)
            found += _of_folder(path, problems, tracebacks, tell)
        else:
            found += _with_until(list(_of_file(path, problems, tracebacks, tell)), path)
    return found


def _tell_nobody(count: int) -> None:
    pass


def _of_store(folder: str, problems: Problems) -> "list[Row]":
    try:
        paths = _store.files(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.add_error(folder, error)
        return []
    return [row for row in (_front(path, problems) for path in paths) if row is not None]


def _of_folder(
    folder: str, problems: Problems, tracebacks: bool, tell: "Callable[[int], None]"
) -> "list[Row]":
    """The records in all regular files of a folder, but for those that a store wrote."""
    found: list[Row] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        problems.add_error(folder, error)
        return []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not _store.is_record(name) and not name.startswith("."):
            found += _with_until(list(_of_file(path, problems, tracebacks, tell)), path)
    return found


def _with_until(rows: "list[Row]", path: str) -> "list[Row]":
    """A dump has no time. It is not newer than what stands behind it, nor than its file."""
    if all(row["time"] for row in rows) or not os.path.isfile(path):
        return rows
    from crashenv._wire import timestamp

    until = timestamp(os.stat(path).st_mtime_ns)
    for row in reversed(rows):
        until = row["time"] or until
        if not row["time"]:
            row["until"] = until
    return rows


def whole(row: "Row") -> "Optional[Record]":
    """All of a record; None if its file was removed meanwhile, or is none any more."""
    if "path" not in row:
        return {key: row[key] for key in row if key not in _ADDED}  # type: ignore[return-value]
    record: Record | None = _loaded_file(row["path"])
    return record


# --- a store


def _front(path: str, problems: Problems) -> "Optional[Row]":
    try:
        fd = _open_regular(path)
        try:
            front = os.read(fd, _FRONT).partition(_FRONT_END)[0]
        finally:
            os.close(fd)
    except FileNotFoundError:  # pruned meanwhile
        return None
    except OSError as error:
        problems.add_error(path, error)
        return None
    row = _scan(front.decode("ascii", "replace"))
    if row is None:
        row = _checked(_loaded_file(path), problems)
    if row is not None:
        row["path"] = path
    return row


def _scan(text: str) -> "Optional[Row]":
    """The keys and values that ``text`` begins with; None if it is not as we write it.

    Importing json would take as long as all the rest.
    """
    if not text.startswith(_FRONT_START):
        return None
    escaped = "\\" in text
    if escaped:
        text = text.replace("\\\\", "\0").replace('\\"', "\1")
    # Now every other part stands between quotation marks.
    parts = text.split('"')
    row: Row = {}
    position, last = 1, len(parts) - 1
    try:
        while position < last:
            between = parts[position + 1]
            if between == ":":
                row[parts[position]] = parts[position + 2]
                position += 4
            else:
                word = between[1:-1]
                row[parts[position]] = None if word == "null" else int(word)
                position += 2
        if escaped:
            row = {key: _unescaped(row[key]) for key in row}
    except (ValueError, IndexError):
        return None
    return row if _has_types(row) else None


def _unescaped(value: "Any") -> "Any":
    """JSON's escapes are Python's, but for characters in two parts. May raise ValueError."""
    if not isinstance(value, str) or (value.isprintable() and "\\" not in value):
        return value
    escaped = value.replace("\0", "\\\\").replace("\1", '\\"').encode("ascii")
    text = escaped.decode("unicode_escape")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _open_regular(path: str) -> int:
    """Of a store, where somebody may have put a FIFO or a link to a device. Raises OSError."""
    fd = files.open_shared(path, getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_RECORD:
        return fd
    os.close(fd)
    raise OSError("is no record: no regular file, or too large")


def _loaded_file(path: str) -> "Optional[Any]":
    try:
        fd = _open_regular(path)
        with open(fd, "rb") as file:
            return _loaded(file.read(_LARGEST_RECORD))
    except OSError:
        return None


def _loaded(data: bytes) -> "Any":
    import json

    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _checked(value: "Any", problems: Problems) -> "Optional[Row]":
    """``value`` if it is a record that we can read."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        problems.add_newer()
    elif schema != SCHEMA or not _has_types(value) or not isinstance(value.get("text"), str):
        problems.add_foreign()
    else:
        return dict(value)
    return None


_NULL = type(None)


def _has_types(value: "dict[str, Any]") -> bool:
    """What is listed; the rest is shown as it is."""
    try:
        return (
            type(value["id"])
            is type(value["kind"])
            is type(value["fingerprint"])
            is type(value["summary"])
            is str
            and type(value["time"]) in (str, _NULL)
            and type(value["program"]) in (str, _NULL)
            and type(value["where"]) in (str, _NULL)
            and type(value["pid"]) in (int, _NULL)
        )
    except KeyError:
        return False


# --- files


def _of_file(
    path: str, problems: Problems, tracebacks: bool, tell: "Callable[[int], None]"
) -> "Iterator[Row]":
    """The records in a crash output, in a log, or in what ``parse`` or a store wrote."""
    from crashenv._reading import files

    try:
        fd = files.open_file(path)
        try:
            yield from _of_chunks(_told(files.chunks(fd), tell), problems, tracebacks)
        finally:
            os.close(fd)
    except OSError as error:
        problems.add_error(path, error)


def _told(chunks: "Iterator[bytes]", tell: "Callable[[int], None]") -> "Iterator[bytes]":
    for chunk in chunks:
        tell(len(chunk))
        yield chunk


def _of_chunks(chunks: "Iterator[bytes]", problems: Problems, tracebacks: bool) -> "Iterator[Row]":
    from crashenv._reading.build import record
    from crashenv._reading.logs import Log

    first = next(chunks, b"")
    if first.startswith(_JSON_START):
        for line in _lines(first, chunks):
            row = _checked(_loaded(line), problems)
            if row is not None:
                yield row
        return
    log = Log(tracebacks)
    chunk: bytes | None = first
    while chunk:
        for frame in log.feed(chunk):
            yield dict(record(frame))
        chunk = next(chunks, None)
    for frame in log.close():
        yield dict(record(frame))


def _lines(first: bytes, chunks: "Iterator[bytes]") -> "Iterator[bytes]":
    """Lines that are neither empty nor longer than any record."""
    pieces: list[bytes] = []
    size = 0
    chunk: bytes | None = first
    while chunk:
        *ends, begin = chunk.split(b"\n")
        for end in ends:
            size += len(end)
            if 0 < size <= _LONGEST_LINE:
                yield b"".join([*pieces, end])
            pieces, size = [], 0
        size += len(begin)
        if size <= _LONGEST_LINE:
            pieces.append(begin)
        chunk = next(chunks, None)
    if 0 < size <= _LONGEST_LINE:
        yield b"".join(pieces)
