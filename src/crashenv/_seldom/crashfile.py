"""``crashfile``: its template, and how its file is opened and removed."""

import os
import stat
import sys
from time import time

from crashenv._seldom.settings import Problem

if os.name == "nt":
    from crashenv._seldom import windows

_ENXIO = 6  # on every system; errno would be one more module to import


_OLD = 60  # seconds; a process that has just opened its file may not have locked it yet
_MOST_SWEPT = 1000  # entries of the folder that one start checks


def expand(template: str) -> str:
    """Expand everything but ``%p``, which each descendant expands for itself.

    ``%%`` is kept as well, so that the result can be expanded again.
    """
    parts = template.split("%%")
    for index, part in enumerate(parts):
        part = part.replace("%t", str(int(time())))
        part = part.replace("%h", _file_name(host_name()))
        parts[index] = part.replace("%e", _file_name(_program_name()))
    path = "%%".join(parts)
    if not os.path.isabs(path):
        path = os.path.join(os.getcwd().replace("%", "%%"), path)
    return path


def expand_pid(template: str, pid: int = 0) -> str:
    """Expand ``%p`` to ``pid``, or to our own."""
    return "%".join(p.replace("%p", str(pid or os.getpid())) for p in template.split("%%"))


def host_name() -> str:
    return windows.host() if os.name == "nt" else os.uname().nodename


def _file_name(name: str) -> str:
    """Return a name that cannot lead out of its folder."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return safe if safe.strip(".") else "python"


def _program_name() -> str:
    """Return the script's or module's name; ``sys.argv`` is set before site runs."""
    argv = getattr(sys, "argv", None) or [""]
    if argv[0] == "-m":
        # The arguments that follow the module are sys.argv[1:]
        name = _original_argv()[-len(argv) :][:1]
        return name[0].rpartition("-m")[2] if name and name[0].startswith("-") else "".join(name)
    return "" if argv[0] == "-c" else os.path.basename(argv[0].rstrip("/" + os.sep))


def _original_argv() -> "list[str]":
    if hasattr(sys, "orig_argv"):  # 3.10 and later
        return list(sys.orig_argv)
    if os.name == "nt":
        return windows.original_argv()
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(arg) for arg in file.read().split(b"\0")[:-1]]


def open_file(path: str) -> int:
    """Open for appending, create with mode 0600. Raise Problem or OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    if not _link_allowed(path):
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = windows.open_append(path) if os.name == "nt" else os.open(path, flags, 0o600)
    except OSError as error:
        if not _link_allowed(path) and os.path.islink(path):
            raise Problem("is a symbolic link") from None
        if error.errno == _ENXIO:  # open(2), fifo(7)
            raise Problem("is a FIFO without a reader, or a socket") from None
        raise
    try:
        _check_wanted(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_wanted(path: str, status: "os.stat_result") -> None:
    """Raise Problem if another user may have put the file there for us to write to."""
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise Problem("has another hard link")
    if hasattr(os, "geteuid") and (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        # As the kernel does if fs.protected_regular and _fifos are on (proc(5)).
        folder = os.stat(os.path.dirname(path))
        if folder.st_mode & stat.S_IWOTH and status.st_uid not in (os.geteuid(), folder.st_uid):
            raise Problem("belongs to another user, in a folder that everybody may write to")


def _link_allowed(path: str) -> bool:
    """Allow links below /dev (/dev/stderr), but not in folders that anyone may write to."""
    if not path.startswith("/dev/") or ".." in path.split("/"):
        return False
    try:
        return not os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    except OSError:
        return False


def is_own(template: str) -> bool:
    """Return whether each process has its own file."""
    return "%p" in template.replace("%%", "")


def hold(fd: int) -> None:
    """Lock the file, to show that this process is running and has it open (flock(2)).

    The lock ends with the process, however it ends, and at an exec: ``fd`` is close-on-exec.
    """
    try:
        from fcntl import LOCK_NB, LOCK_SH, flock

        flock(fd, LOCK_SH | LOCK_NB)
    except (ImportError, OSError):  # Windows; a file system without locks
        pass


def sweep(template: str) -> None:
    """Remove empty files of processes that were killed, or executed another program."""
    folder, name = os.path.split(template)
    parts = name.replace("%%", "\0").split("%p")
    if len(parts) != 2 or is_own(folder):
        return
    first, last = (part.replace("\0", "%") for part in parts)
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        with os.scandir(folder.replace("%%", "%")) as entries:
            for entry, _ in zip(entries, range(_MOST_SWEPT)):
                number = entry.name[len(first) : len(entry.name) - len(last)]
                if first + number + last != entry.name or not number.isdigit():
                    continue
                if not _is_old_and_empty(entry.stat(follow_symlinks=False)):
                    continue
                fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    flock(fd, LOCK_EX | LOCK_NB)
                    status = os.fstat(fd)
                    remove_if_empty(fd, (status.st_dev, status.st_ino), entry.path)
                except OSError:  # a running process has locked it
                    pass
                finally:
                    os.close(fd)
    except (ImportError, OSError):
        pass


def _is_old_and_empty(status: "os.stat_result") -> bool:
    is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    return is_ours and not status.st_size and status.st_mtime < time() - _OLD


def _identity(status: "os.stat_result") -> "tuple[int, int]":
    if os.name == "nt":
        return windows.of(status)[:0:-1]
    return status.st_dev, status.st_ino


def remove_if_empty(fd: int, expected: "tuple[int, int]", path: str) -> None:
    """Unlink the file if it is still that of ``fd``, which is ours, and is empty."""
    try:
        if _identity(os.fstat(fd)) != expected:
            return
        status = os.stat(path, follow_symlinks=False)
        regular = stat.S_ISREG(status.st_mode)
        if _identity(status) == expected and regular and not status.st_size:
            os.unlink(path)
    except (OSError, OverflowError):
        pass
