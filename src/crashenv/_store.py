"""The folder of crash records: one file each, ``TIME-ID.json``, the oldest first by name.

Any number of processes may write, prune and read at once: a file is created whole, by
rename(2), and a process that finds one missing continues with the next. Only its owner
can read it, because a traceback may quote secrets.
"""

import os
import stat
from time import time, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_RECORDS = 1000
_MOST_BYTES = 64 << 20

_SUFFIX = ".json"
_AS_ONE = str.maketrans("123456789bcdef", "000000000aaaaa")
_UNFINISHED = ".unfinished"
_MOST_UNASKED = 50  # records of others, or of our own, between two checks of all sizes
_ABANDONED = 3600  # seconds; after that, an unfinished file is abandoned


def default_folder() -> str:
    """``$XDG_STATE_HOME/crashenv`` (XDG Base Directory Specification 0.8).

    A relative value is invalid there, and therefore ignored. An unknown user, as in some
    containers, has the root as home. On Windows it is ``%LOCALAPPDATA%\\crashenv``.
    """
    if os.name == "nt":
        data = os.environ.get("LOCALAPPDATA", "")
        if not os.path.isabs(data):
            data = os.path.join(os.path.expanduser("~"), "AppData", "Local")
        return os.path.join(data, "crashenv")
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = os.path.expanduser("~")
        state = os.path.join(home if os.path.isabs(home) else "/", ".local", "state")
    return os.path.join(state, "crashenv")


def problem(folder: str) -> str:
    """Return why nothing can be stored in ``folder``, which need not exist yet, or "".

    The nearest existing folder above counts: the others are created when needed.
    """
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        if not os.path.isdir(folder):
            return "%s is not a folder" % folder
        if not os.access(folder, os.W_OK | os.X_OK):
            return "%s cannot be written" % folder
        is_full = _is_full(folder)
    except OSError as error:
        return str(error)
    try:
        is_full = is_full and not files(folder)  # the oldest of which would make room
    except OSError:
        pass
    return "no space is left in %s" % folder if is_full else ""


def _is_full(folder: str) -> bool:
    """Raises OSError."""
    if not hasattr(os, "statvfs"):  # Windows
        import shutil

        return not shutil.disk_usage(folder).free
    status = os.statvfs(folder)
    return bool(status.f_blocks and not (status.f_bavail if os.geteuid() else status.f_bfree))


def files(folder: str) -> "list[str]":
    """Return the paths of all records, the oldest first. Raise OSError."""
    return [path for path in candidates(folder) if _status(path) is not None]


def candidates(folder: str) -> "list[str]":
    """Do as ``files``, but include links, irregular files, and files of other users."""
    folder = os.path.join(folder, "")
    return [folder + name for name in sorted(_of_records(os.listdir(folder)))]


_BEGIN = b'{"schema":'
_AT_ONCE = 20  # records; more would take and free so much memory that the kernel is asked
_OPEN = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"):
    _OPEN |= getattr(os, _name, 0)


def beginnings(folder: str, size: int) -> "Iterator[list[tuple[str, bytes | OSError]]]":
    """Yield the paths and the first ``size`` bytes of all records, some at once, the oldest first.

    An error takes the place of what cannot be read. What was pruned meanwhile is left out, and what
    is no record: somebody may have put a FIFO there, a link, or a file of another user. To ask for
    an open file's status takes a fifth of the time that it is open, so that is left out for what
    begins as a record in a folder of our own, where nobody else can write. Raise OSError.
    """
    opened, read, close = os.open, os.read, os.close
    is_private = not hasattr(os, "geteuid") or _is_private(os.stat(folder))
    found: list[tuple[str, bytes | OSError]] = []
    for path in candidates(folder):
        try:
            fd = opened(path, _OPEN)
            try:
                content = read(fd, size)
                if (is_private and content.startswith(_BEGIN)) or _is_ours(os.fstat(fd)):
                    found.append((path, content))
            finally:
                close(fd)
        except OSError as error:
            if _status(path) is not None:
                found.append((path, error))
        if len(found) == _AT_ONCE:
            yield found
            found = []
    yield found


def identifier(path: str) -> str:
    """Return the record's id from its file's name."""
    return os.path.basename(path)[: -len(_SUFFIX)].rpartition("-")[2]


def is_record(name: str) -> bool:
    """Return whether it is a record's name: ``20261122T101112.345678Z-`` and 16 hex digits."""
    return _of_records([name]) != []


def _of_records(names: "list[str]") -> "list[str]":
    """Return those that are records' names."""
    shapes = "/".join(names).translate(_AS_ONE).split("/")
    return [
        name
        for name, shape in zip(names, shapes)
        if shape.startswith("00000000T000000.000000Z-")
        and len(shape) == 45
        and shape[24:].strip("0a") == _SUFFIX
    ]


def _status(path: str) -> "os.stat_result | None":
    """Return the status of a record: a regular file of our user, not through a link; or None."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:  # pruned by another monitor
        return None
    return status if _is_ours(status) else None


def _is_private(folder: "os.stat_result") -> bool:
    return folder.st_uid == os.geteuid() and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_ours(status: "os.stat_result") -> bool:
    is_ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return is_ours and stat.S_ISREG(status.st_mode)


class Store:
    """Writes records into ``folder``, and keeps the newest."""

    def __init__(
        self, folder: str, most_records: "int | None" = None, most_bytes: "int | None" = None
    ) -> None:
        self._folder = folder
        self._most_records = most_records or _MOST_RECORDS
        self._most_bytes = most_bytes or _MOST_BYTES
        self._room = self._unasked = 0  # so that the first record asks

    def add(self, identifier: str, content: bytes) -> str:
        """Write a record, which is JSON, and return its path. Raise OSError."""
        # Only this folder is private; those above it are created with the usual mode.
        try:
            os.makedirs(os.path.dirname(self._folder) or ".", exist_ok=True)
            os.mkdir(self._folder, 0o700)
        except FileExistsError:
            if not os.path.isdir(self._folder):
                from errno import ENOTDIR

                raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), self._folder) from None
        from crashenv._wire import timestamp

        # Not the record's own time, which the program may choose freely.
        now = "".join(c for c in timestamp(time_ns()) if c not in "-:")
        name = "%s-%s%s" % (now, identifier, _SUFFIX)
        path = os.path.join(self._folder, name)
        try:
            self._write(path, content)
        except OSError as error:
            from errno import EDQUOT, ENOSPC

            if error.errno not in (ENOSPC, EDQUOT) or not self._free(len(content)):
                raise
            self._write(path, content)
        self._prune(len(content), name)
        return path

    def prune(self) -> int:
        """Remove the oldest beyond the limits; return how many were removed. Raise OSError."""
        before = len(files(self._folder))
        self._room = self._unasked = -1
        self._prune(0, "")
        return before - len(files(self._folder))

    def _free(self, wanted: int) -> bool:
        """Make room on a full disk: remove the oldest records, whatever the limits are."""
        freed = 0
        for path in files(self._folder):
            status = _status(path)
            if freed > 2 * wanted:
                break
            if status is not None:
                _remove(path)
                freed += status.st_blocks * 512 if hasattr(status, "st_blocks") else status.st_size
        return freed > 0

    def replace(self, path: str, content: bytes) -> None:
        """Replace the content, unless the record was pruned. Raise OSError."""
        if os.path.exists(path):
            self._write(path, content)

    def _write(self, path: str, content: bytes) -> None:
        # Not the process id: in every container that shares the folder it may be 1.
        name = "." + os.urandom(8).hex() + _UNFINISHED
        unfinished = os.path.join(self._folder, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(unfinished, flags, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.replace(unfinished, path)
        except BaseException:
            _remove(unfinished)
            raise

    def _prune(self, added: int, newest: str) -> None:
        """Remove the oldest beyond the limits, but not ``newest``.

        ``newest`` has just been written, but may have the oldest name: a clock may be set back.

        Reading a thousand sizes takes milliseconds, so this is done only if the
        ``added`` bytes may exceed the limit.
        """
        self._room -= added
        self._unasked -= 1
        names = os.listdir(self._folder)
        is_due = self._room < 0 or self._unasked < 0
        if not is_due and len(names) <= self._most_records:
            return
        statuses = {}
        names.sort(key=lambda name: (name == newest, name))
        for name in _of_records(names):
            status = _status(os.path.join(self._folder, name))
            if status is not None:
                statuses[name] = status
        excess = list(statuses)[: max(0, len(statuses) - self._most_records)]
        for name in excess:
            _remove(os.path.join(self._folder, name))
            del statuses[name]
        if is_due:
            self._prune_by_size(statuses)
            for name in names:
                if name.endswith(_UNFINISHED):
                    _remove_abandoned(os.path.join(self._folder, name))

    def _prune_by_size(self, statuses: "dict[str, os.stat_result]") -> None:
        total = sum(status.st_size for status in statuses.values())
        for name in list(statuses)[:-1]:
            if total <= self._most_bytes:
                break
            _remove(os.path.join(self._folder, name))
            total -= statuses[name].st_size
        self._room = self._most_bytes - total
        self._unasked = _MOST_UNASKED


def _remove_abandoned(path: str) -> None:
    status = _status(path)
    if status is not None and time() - status.st_mtime > _ABANDONED:
        _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
