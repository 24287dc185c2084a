"""The private copy of the crash output: opened, recognised again, closed.

A descriptor number means nothing without the file it stood for, so the file's
``(st_dev, st_ino)`` is kept and looked at again before every write: after an
``os.closerange`` the number may be somebody else's file.
"""

import os
import stat
import sys

from crashenv._settings import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

    Identity = tuple[int, int]

# Where ordinary opens, which take the lowest free number, do not land. The
# lower ones are for a low RLIMIT_NOFILE.
_HIGH_NUMBERS = (*range(1000, 1020), *range(200, 220), *range(50, 60))
_EBADF, _ENXIO = 9, 6  # on every system; importing errno takes 0.05 ms
_DEVICE_TTYS = 5  # major of /dev/tty, /dev/console, /dev/ptmx: opening makes another file


def identity(status: "os.stat_result") -> "Identity":
    return status.st_dev, status.st_ino


def is_file(fd: int, expected: "Identity") -> bool:
    """Whether descriptor ``fd`` is open and is the ``expected`` file."""
    try:
        return identity(os.fstat(fd)) == expected
    except (OSError, OverflowError):
        return False


class PrivateCopy:
    """Our own descriptor for the crash output, close-on-exec and at a high number.

    Made from an inherited descriptor ``source``, which stays as it is, or from a
    ``path``, which is opened for appending. Raises Problem or OSError.
    ``may_block`` is whether a write to ``fd`` can wait for ever, ``poll`` what
    tells beforehand, if something does.
    """

    def __init__(self, source: "int | None" = None, path: "str | None" = None) -> None:
        self.source = source
        self.path = path
        self._open()

    def _open(self) -> None:
        self.poll: type[select.poll] | None = None
        self.may_block = False
        if self.path is not None:
            from crashenv import _crashfile

            own = _crashfile.open_file(self.path)
        else:
            assert self.source is not None
            own = self._open_source(self.source)
        try:
            status = os.fstat(own)
            self.identity = identity(status)
            if stat.S_ISREG(status.st_mode):
                self.may_block = _is_remote(status.st_dev)
            self.fd = duplicate_high(own)
        finally:
            if own != self.source:
                os.close(own)

    def _open_source(self, fd: int) -> int:
        """A descriptor for the file of ``fd``, by which a write cannot block.

        Opening a pipe or a terminal again through /proc/self/fd (proc(5)) gives
        an open file description of our own, whose O_NONBLOCK the parent does
        not share. Regular files never block and are only duplicated: the common
        offset keeps one writer from overwriting the other. Sockets cannot be
        opened; poll has to tell, and of the write that faulthandler does, nothing.
        """
        status = os.fstat(fd)
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            raise Problem("is a directory")
        if not stat.S_ISSOCK(mode):
            _check_writable(fd)
        if stat.S_ISREG(mode):
            return fd
        terminal = stat.S_ISCHR(mode) and os.major(status.st_rdev) != _DEVICE_TTYS
        if stat.S_ISFIFO(mode) or (terminal and os.isatty(fd)):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            try:
                own = os.open("/proc/self/fd/%d" % fd, flags)
            except OSError as error:  # no /proc, another user's pipe
                own = -1
                self.may_block = error.errno != _ENXIO  # no reader any more: EPIPE
            if is_file(own, identity(status)):
                return own
            if own >= 0:
                os.close(own)
        else:
            self.may_block = stat.S_ISSOCK(mode)
        try:
            from select import poll
        except ImportError:  # Windows
            pass
        else:
            self.poll = poll
        return fd

    def is_current(self) -> bool:
        return is_file(self.fd, self.identity)

    def refresh(self) -> bool:
        """Make ``fd`` the crash output again if it no longer is; False if it cannot be."""
        ours = self.is_current()
        if ours and self._path_is_current():
            return True
        if self.source is not None and not is_file(self.source, self.identity):
            return False
        old = self.fd
        try:
            self._open()
        except (OSError, Problem):
            return ours  # a rotated file that cannot be made anew is better than none
        if ours:
            os.close(old)
        return True

    def _path_is_current(self) -> bool:
        try:
            return self.path is None or identity(os.stat(self.path)) == self.identity
        except OSError:
            return False

    def close(self) -> None:
        if self.is_current():
            os.close(self.fd)


def _check_writable(fd: int) -> None:
    try:
        os.write(fd, b"")  # has no effect but this error (write(2))
    except OSError as error:
        if error.errno == _EBADF:
            raise Problem("is not open for writing") from None


def _is_remote(device: int) -> bool:
    if sys.platform != "linux" or os.major(device):
        return False  # a disk's; what is remote or in memory has no major number
    try:
        from crashenv._mounts import is_remote

        return is_remote(device)
    except (ImportError, OSError):  # at a crash: no descriptor, no path
        return False


def duplicate_high(fd: int) -> int:
    """A close-on-exec copy at a number where ordinary opens do not land."""
    for number in _HIGH_NUMBERS:
        if not _is_open(number):
            try:
                return os.dup2(fd, number, inheritable=False)
            except OSError:  # beyond RLIMIT_NOFILE (EBADF, dup2(2))
                pass
    return os.dup(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno != _EBADF  # dup2 would close it
    return True
