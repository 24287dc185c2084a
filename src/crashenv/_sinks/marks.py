"""What was sent: one file for each sink, ``.sent/KEY`` in the store.

It has lines of text, appended by the one process that holds the lock:

    sink SHOWN                      which sink it is, for people
    total SENT REFUSED LEFT         counts of lines that were removed
    NAME sent FINGERPRINT           NAME is a record's file
    NAME left FINGERPRINT           left out, as one too many of its kind
    NAME refused REASON
    NAME before                     was stored before the sink was used
    NAME tried                      the receiver failed with this record
    until SECONDS asked|failed N    do not try before this time, in seconds since 1970

A record without a line is waiting. The store only treats files with its own names as
records, so it neither counts nor removes these files. If the folder is removed, all
records are waiting again.
"""

import os
from time import monotonic, sleep, time, time_ns

from crashenv import _store
from crashenv._wire import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from crashenv._sinks.address import Address

FOLDER = ".sent"
_MOST_LINES = 4096  # above that, lines of removed records are dropped
_DONE = ("sent", "refused", "left")
_BEFORE = "before"
_LOOK = 0.05  # seconds between two tries to get the lock
_KEPT = 7200  # seconds; after that, a line of a removed record does not affect the limit
# Seconds that a receiver is left alone after a failure; the time doubles with each failure.
_FIRST_HOLD = 15.0
_LONGEST_HOLD = 600.0
_LONGEST_FILE = 1 << 24  # bytes


class Marks:
    """The marks of one sink in the store ``folder``; None for records without a store."""

    def __init__(self, folder: "str | None", address: "Address") -> None:
        self._store = folder
        self._shown = address.shown
        self._path = os.path.join(folder, FOLDER, address.key) if folder is not None else ""
        self._lock = -1
        self._clear()

    def _clear(self) -> None:
        self.is_new = True
        self.counts = dict.fromkeys(_DONE, 0)  # of all records so far
        self.until, self.is_asked, self.failures = 0.0, False, 0
        self.lines: list[list[str]] = []  # lines of records, in their order
        self.done: dict[str, str] = {}
        self.tries: dict[str, int] = {}
        self._count = 0
        self._is_torn = False  # the disk was full in the middle of a line

    # --- reading

    def load(self) -> "Marks":
        """Read the file; invalid lines are ignored."""
        if self._store is None:
            return self
        self._clear()
        try:
            with open(self._path, "rb") as file:
                text = file.read(_LONGEST_FILE).decode("ascii", "replace")
        except OSError:
            return self
        self.is_new = False
        self._is_torn = not text.endswith("\n")
        for line in text.split("\n")[:-1]:
            self._take(line.split(" "))
        return self

    def _take(self, words: "list[str]") -> None:
        self._count += 1
        name, rest = words[0], words[1:]
        try:
            if name == "total":
                self.counts = dict(zip(_DONE, [int(rest[0]), int(rest[1]), int(rest[2])]))
            elif name == "until":
                self.until, self.is_asked = float(rest[0]), rest[1] == "asked"
                self.failures = int(rest[2])
            elif _store.is_record(name):
                self._take_mark(name, rest)
        except (IndexError, ValueError):
            pass

    def _take_mark(self, name: str, rest: "list[str]") -> None:
        self.lines.append([name, *rest])
        if rest[0] == "tried":
            self.tries[name] = self.tries.get(name, 0) + 1
        elif rest[0] == _BEFORE:
            self.done[name] = _BEFORE
        elif rest[0] in _DONE:
            self.counts[rest[0]] += 1
            self.done[name] = rest[0]
            if rest[0] == "sent":  # the receiver works again
                self.until, self.is_asked, self.failures = 0.0, False, 0

    def waiting(self, everything: bool = False) -> "list[str]":
        """Return the paths of the records to send, in order. Raise OSError.

        With ``everything``, include those that were refused, left out, or stored before.
        """
        assert self._store is not None
        found = []
        for path in _store.files(self._store):
            name = os.path.basename(path)
            mark = self.done.get(name)
            if mark is None or (everything and mark != "sent"):
                found.append(path)
        return found

    # --- writing

    def lock(self, patience: float) -> bool:
        """Return whether this is the only process that sends to this sink. Raise OSError.

        Wait ``patience`` seconds for another one, which may have looked before the newest
        record was stored.
        """
        if self._store is None:
            return True
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        self._lock = os.open(self._path + ".lock", _flags(os.O_RDWR), 0o600)
        try:
            import fcntl
        except ImportError:
            return True
        deadline = monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if monotonic() >= deadline:
                    self.unlock()
                    return False
                sleep(_LOOK)

    def unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def begin(self, now: bool) -> None:
        """Create the file, if there is none; ``now`` leaves out earlier records.

        Raise OSError.
        """
        if self._store is None or not self.is_new:
            return
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        lines = ["sink " + self._shown]
        if now:
            names = [os.path.basename(path) for path in _store.files(self._store)]
            lines += ["%s %s" % (name, _BEFORE) for name in names]
        unfinished = "%s.%s.unfinished" % (self._path, os.urandom(4).hex())
        _write(unfinished, "".join(line + "\n" for line in lines), os.O_EXCL)
        try:
            os.link(unfinished, self._path)  # atomic, and does not replace another file
            os.unlink(unfinished)
        except FileExistsError:  # another monitor created it at the same time
            os.unlink(unfinished)
        except OSError:  # a file system without links
            os.replace(unfinished, self._path)

    def add(self, name: str, mark: str, detail: str = "") -> None:
        """Append a line for a record. Raise OSError."""
        printable = "".join(c if c.isascii() and c.isprintable() else "?" for c in detail)
        self._add(" ".join(filter(None, [name, mark, printable[:200]])))

    def hold(self, asked: "float | None") -> bool:
        """Try nothing for ``asked`` seconds, or longer each time; return whether it is the first.

        Raise OSError.
        """
        failures = self.failures + 1
        pause = min(_LONGEST_HOLD, _FIRST_HOLD * 2.0 ** min(failures - 1, 10))
        until = time() + (pause if asked is None else asked)
        text = "failed" if asked is None else "asked"
        self._add("until %.0f %s %d" % (until, text, failures))
        return failures == 1

    def _add(self, line: str) -> None:
        if self._store is not None:
            _write(self._path, ("\n" if self._is_torn else "") + line + "\n", os.O_APPEND)
            self._is_torn = False
        self._take(line.split(" "))

    def tidy(self, names: "Iterable[str]") -> None:
        """Rewrite the file without records that are not in ``names``, if it is long.

        Raise OSError.
        """
        if self._store is None or self._count <= _MOST_LINES:
            return
        there = set(names)
        recent = "".join(c for c in timestamp(time_ns() - _KEPT * 10**9) if c not in "-:")
        kept = [line for line in self.lines if line[0] in there or line[0] >= recent]
        totals = dict(self.counts)
        for line in kept:
            if line[1] in totals:
                totals[line[1]] -= 1
        head = ["sink " + self._shown]
        head.append("total %d %d %d" % tuple(totals[mark] for mark in _DONE))
        if self.until:
            text = "asked" if self.is_asked else "failed"
            head.append("until %.0f %s %d" % (self.until, text, self.failures))
        lines = [*head, *[" ".join(line) for line in kept]]
        unfinished = self._path + ".unfinished"
        _write(unfinished, "".join(line + "\n" for line in lines), os.O_TRUNC)
        os.replace(unfinished, self._path)
        self.load()


def _write(path: str, text: str, how: int) -> None:
    """Write the file. Raise OSError."""
    fd = os.open(path, _flags(os.O_WRONLY | how), 0o600)
    with open(fd, "wb") as file:
        file.write(text.encode())


def _flags(flags: int) -> int:
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return flags | os.O_CREAT
