"""The folder of crash records: one file each, ``TIME-ID.json``, the oldest first by name.

Any number of processes may write, prune and read at once: a file appears whole, by
rename(2), and whoever finds one gone goes on to the next. Only its owner can read
it, for a traceback may quote secrets.
"""

import os
from time import time, time_ns

from crashenv._wire import timestamp

_MOST_RECORDS = 1000
_MOST_BYTES = 64 << 20

_SUFFIX = ".json"
_UNFINISHED = ".unfinished"
_MOST_UNASKED = 50  # records of others, or of one's own, between two looks at all sizes
_ABANDONED = 3600  # seconds, after which nobody finishes an unfinished file


def default_folder() -> str:
    """``$XDG_STATE_HOME/crashenv`` (XDG Base Directory Specification 0.8).

    A relative value is invalid there, and so ignored. A user whom nobody knows, as in
    some containers, has its home in the root.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = os.path.expanduser("~")
        state = os.path.join(home if os.path.isabs(home) else "/", ".local", "state")
    return os.path.join(state, "crashenv")


def files(folder: str) -> "list[str]":
    """The paths of all records, the oldest first. Raises OSError."""
    names = sorted(name for name in os.listdir(folder) if _is_record(name))
    return [os.path.join(folder, name) for name in names]


def identifier(path: str) -> str:
    """The record's id, as its file's name has it."""
    return os.path.basename(path)[: -len(_SUFFIX)].rpartition("-")[2]


def _is_record(name: str) -> bool:
    return name.endswith(_SUFFIX) and "-" in name and not name.startswith(".")


class Store:
    """Writes records into ``folder``, of which it keeps the newest."""

    def __init__(
        self, folder: str, most_records: "int | None" = None, most_bytes: "int | None" = None
    ) -> None:
        self._folder = folder
        self._most_records = most_records or _MOST_RECORDS
        self._most_bytes = most_bytes or _MOST_BYTES
        self._room = self._unasked = 0  # so that the first record asks

    def add(self, identifier: str, content: bytes) -> str:
        """Write a record, which is JSON, and return its path. Raises OSError."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        # Not the record's own time, which a program may write as it likes.
        now = "".join(c for c in timestamp(time_ns()) if c not in "-:")
        path = os.path.join(self._folder, "%s-%s%s" % (now, identifier, _SUFFIX))
        self._write(path, content)
        self._prune(len(content))
        return path

    def replace(self, path: str, content: bytes) -> None:
        """Write another content, unless the record was pruned. Raises OSError."""
        if os.path.exists(path):
            self._write(path, content)

    def _write(self, path: str, content: bytes) -> None:
        # Not the process id: every container that shares the folder may be process 1.
        name = "." + os.urandom(8).hex() + _UNFINISHED
        unfinished = os.path.join(self._folder, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(unfinished, flags, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.rename(unfinished, path)
        except BaseException:
            _remove(unfinished)
            raise

    def _prune(self, added: int) -> None:
        """Remove the oldest that are too many or, but for the newest, too much.

        To ask for a thousand sizes takes milliseconds, so that is done only when the
        ``added`` bytes may be too much.
        """
        self._room -= added
        self._unasked -= 1
        names = os.listdir(self._folder)
        is_due = self._room < 0 or self._unasked < 0
        if not is_due and len(names) <= self._most_records:
            return
        records = sorted(name for name in names if _is_record(name))
        excess = max(0, len(records) - self._most_records)
        for name in records[:excess]:
            _remove(os.path.join(self._folder, name))
        if is_due:
            self._prune_by_size(records[excess:])
            for name in names:
                if name.endswith(_UNFINISHED):
                    _remove_abandoned(os.path.join(self._folder, name))

    def _prune_by_size(self, records: "list[str]") -> None:
        sizes = [_size(os.path.join(self._folder, name)) for name in records]
        total = sum(sizes)
        for name, size in zip(records[:-1], sizes):
            if total <= self._most_bytes:
                break
            _remove(os.path.join(self._folder, name))
            total -= size
        self._room = self._most_bytes - total
        self._unasked = _MOST_UNASKED


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except OSError:  # pruned by another monitor
        return 0


def _remove_abandoned(path: str) -> None:
    try:
        if time() - os.stat(path, follow_symlinks=False).st_mtime > _ABANDONED:
            _remove(path)
    except OSError:
        pass


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
