"""The records to list and show: those of a store, or those in files."""

import os
import sys
from _operator import itemgetter  # operator itself would be one more file to load

from crashenv import _store
from crashenv._reading.decode import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Optional

    from crashenv.records import Record

    Row = dict[str, Any]


SCHEMA = 1  # the one that we can read
# The keys before the header in a record, and so in the first bytes of its file.
_FRONT = 2048  # bytes, of which 500 are usual; of a longer one the whole record is read
_ADDED = ("seen", "first", "until")  # to a row
_LARGEST_RECORD = 1 << 26  # bytes
_FRONT_START = b'{"schema":%d,' % SCHEMA
_FRONT_END = b',"header":'
_JSON_START = b'{"schema":'
_LONGEST_LINE = 1 << 26  # bytes; a report of 4 MiB, all control characters, has 24 MiB of text


class Problems:
    """What could not be read; each problem is printed once, at the end."""

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
    """Return the records, newest last; those of a store only with ``path`` and what ``list`` shows.

    Each of ``files`` may be a folder: a store, or one of crash outputs and logs. A row
    without a time may have ``until``, its latest possible time. ``tell`` is called with
    the number of bytes that are read next; without ``files``, with 1 for each record.
    """
    tell = tell or _tell_nobody
    if not files:
        return _of_store(folder or _store.default_folder(), problems, tell)
    found: list[Row] = []
    for path in files:
        if os.path.isdir(path):
            found += _of_store(path, problems, _tell_nobody)
            found += _of_folder(path, problems, tracebacks, tell)
        else:
            found += _with_until(list(_of_file(path, problems, tracebacks, tell)), path)
    return found


def _tell_nobody(count: int) -> None:
    pass


def _of_store(folder: str, problems: Problems, tell: "Callable[[int], None]") -> "list[Row]":
    rows: list[Row] = []
    kept: dict[Any, Any] = {}  # texts that many have, once
    keep = kept.setdefault
    try:
        for records in _store.beginnings(folder, _FRONT):
            tell(len(records))
            for (path, content), front in zip(records, _fronts(records)):
                listed = _listed(front) or _listed(_without_front(path, content, problems))
                if listed is not None:
                    rows.append(vars(_Row(path, keep, *listed)))
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.add_error(folder, error)
    return rows


class _Row:
    """Whose attributes are a row: the dictionaries of a class's instances share their keys."""

    def __init__(
        self,
        path: str,
        keep: "Callable[[Any, Any], Any]",
        id: str,
        time: "Optional[str]",
        pid: "Optional[int]",
        kind: str,
        program: "Optional[str]",
        fingerprint: str,
        summary: str,
        where: "Optional[str]",
    ) -> None:
        self.path = path
        self.id = id
        self.time = time
        self.pid = pid
        self.kind = keep(kind, kind)
        self.program = keep(program, program)
        self.fingerprint = keep(fingerprint, fingerprint)
        self.summary = keep(summary, summary)
        self.where = keep(where, where)
        self.seen = 0


def _of_folder(
    folder: str, problems: Problems, tracebacks: bool, tell: "Callable[[int], None]"
) -> "list[Row]":
    """Return the records in all regular files of a folder, except those of a store."""
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
    """Add ``until``: a dump has no time, but is not newer than the next record or its file."""
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
    """Return the whole record; None if its file was removed, or is no longer a record."""
    if "path" not in row:
        return {key: row[key] for key in row if key not in _ADDED}  # type: ignore[return-value]
    record: Record | None = _loaded_file(row["path"])
    return record


# --- a store


def _fronts(records: "Sequence[tuple[str, bytes | OSError]]") -> "Sequence[Any]":
    """Return the parts before the headers, as we write them, or None for other records."""
    fronts = [
        content.partition(_FRONT_END)[0]
        if isinstance(content, bytes) and content.startswith(_FRONT_START)
        else b""
        for _, content in records
    ]
    found = _decoded(b"[%s}]" % b"},".join(fronts))
    if found is not None and len(found) == len(fronts):
        return found  # type: ignore[no-any-return]
    return [_decoded(front + b"}") for front in fronts]


def _decoded(front: bytes) -> "Any":
    try:
        return decode(front.decode("ascii"))
    except (ValueError, RecursionError):
        return None


def _without_front(path: str, content: "bytes | OSError", problems: Problems) -> "Optional[Row]":
    if isinstance(content, OSError):
        problems.add_error(path, content)
        return None
    return _checked(_loaded_file(path), problems)


def _loaded_file(path: str) -> "Optional[Any]":
    from crashenv._reading import files

    try:
        if os.path.getsize(path) > _LARGEST_RECORD:
            return None
        with open(files.open_shared(path), "rb") as file:
            return _loaded(file.read(_LARGEST_RECORD))
    except OSError:
        return None


def _loaded(data: bytes) -> "Any":
    try:
        return decode(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None


def _checked(value: "Any", problems: Problems) -> "Optional[Row]":
    """Return ``value`` if it is a record that we can read."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        problems.add_newer()
    elif schema != SCHEMA or _listed(value) is None or not isinstance(value.get("text"), str):
        problems.add_foreign()
    else:
        return dict(value)
    return None


_values = itemgetter("id", "time", "pid", "kind", "program", "fingerprint", "summary", "where")
_NULL = type(None)
_TYPES = frozenset(
    (str, time, pid, str, program, str, str, where)
    for time in (str, _NULL)
    for pid in (int, _NULL)
    for program in (str, _NULL)
    for where in (str, _NULL)
)


def _listed(record: "Any") -> "Optional[Sequence[Any]]":
    """Return the listed values if they have the right types; others are shown as they are."""
    try:
        values: tuple[Any, ...] = _values(record)
    except (KeyError, TypeError):
        return None
    return values if tuple(map(type, values)) in _TYPES else None


# --- files


def _of_file(
    path: str, problems: Problems, tracebacks: bool, tell: "Callable[[int], None]"
) -> "Iterator[Row]":
    """Return the records in a crash output, a log, or a file of ``parse`` or a store."""
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
    """Yield the lines that are neither empty nor longer than any record."""
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
