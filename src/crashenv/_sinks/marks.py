"""What was sent: in the store, ``.sent/KEY``, one file for each sink.

Lines of text, appended by the one process that holds the lock:

    sink SHOWN                      which one it is, for people
    total SENT REFUSED LEFT         of lines that are not there any more
    NAME sent FINGERPRINT           NAME is a record's file
    NAME left FINGERPRINT           one too many of its kind
    NAME refused REASON
    NAME before                     was there before the sink was
    NAME tried                      and the receiver failed over it
    until SECONDS asked|failed N    nothing is tried before, in seconds since 1970

A record without a line waits. Nothing but a name that the store gives counts as a record
there, so the store neither counts nor removes these files, and who removes the folder
makes all records wait again.
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
_MOST_LINES = 4096  # then those of records that were removed go
_DONE = ("sent", "refused", "left")
_BEFORE = "before"
_LOOK = 0.05  # seconds between two tries to get the lock
_KEPT = 7200  # seconds, after which a line of a removed record limits nothing any more
# Seconds that a receiver is left alone once it has failed; twice that each next time.
_FIRST_HOLD = 15.0
_LONGEST_HOLD = 600.0
_LONGEST_FILE = 1 << 24  # bytes


class Marks:
    """Of one sink; ``folder`` is the store's, None for records of no store: nothing is kept."""

    def __init__(self, folder: "str | None", address: "Address") -> None:
        self._store = folder
        self._shown = address.shown
        self._path = os.path.join(folder, FOLDER, address.key) if folder is not None else ""
        self._lock = -1
        self._clear()

    def _clear(self) -> None:
        self.is_new = True
        self.counts = dict.fromkeys(_DONE, 0)  # of all that this sink ever got
        self.until, self.is_asked, self.failures = 0.0, False, 0
        self.lines: list[list[str]] = []  # of records, in the order of their marks
        self.done: dict[str, str] = {}
        self.tries: dict[str, int] = {}
        self._count = 0
        self._is_torn = False  # the disk was full in the middle of a line

    # --- reading

    def load(self) -> "Marks":
        """What stands there now; a line that makes no sense is left out."""
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
            if rest[0] == "sent":  # the receiver is there again
                self.until, self.is_asked, self.failures = 0.0, False, 0

    def waiting(self, everything: bool = False) -> "list[str]":
        """The paths of the records that are to be sent, in that order. Raises OSError.

        With ``everything`` also those that were refused, left out, or there before.
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
        """Whether we are the only one that sends to this sink. Raises OSError.

        It waits so many seconds for another one, who may have looked before the newest
        record was there.
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
        """Make the file, if there is none; ``now`` leaves out what was kept before.

        Raises OSError.
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
            os.link(unfinished, self._path)  # whole at once, and never over another one
            os.unlink(unfinished)
        except FileExistsError:  # by another monitor that began with this one
            os.unlink(unfinished)
        except OSError:  # a file system without links
            os.replace(unfinished, self._path)

    def add(self, name: str, mark: str, detail: str = "") -> None:
        """Raises OSError."""
        printable = "".join(c if c.isascii() and c.isprintable() else "?" for c in detail)
        self._add(" ".join(filter(None, [name, mark, printable[:200]])))

    def hold(self, asked: "float | None") -> bool:
        """Try nothing for so many seconds, or for longer each time; True if it is the first.

        Raises OSError.
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
        """Write the file anew, without records that are not in ``names``, if it is long.

        Raises OSError.
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
    """Raises OSError."""
    fd = os.open(path, _flags(os.O_WRONLY | how), 0o600)
    with open(fd, "wb") as file:
        file.write(text.encode())


def _flags(flags: int) -> int:
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return flags | os.O_CREAT
