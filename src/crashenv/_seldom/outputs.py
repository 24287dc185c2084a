"""Open, recognise and close crash outputs of every kind.

A descriptor number means nothing without its file, so the file's ``(st_dev, st_ino)``
is kept and checked before every write: after an ``os.closerange`` the number may refer
to another file.

An output is a ``types.SimpleNamespace``, which saves a start the cost of a class:

``fd``        our own descriptor, close-on-exec and with a high number; None if there is none
``source``    the descriptor that was passed; None for a file that is opened by its path
``identity``  ``(st_dev, st_ino)`` of the file
``dumps``     the descriptor that faulthandler writes to; -1 if it must not
``timeout``, ``limit``, ``threads``, ``traceback``, ``signal``, ``tags``  as the settings say
``directory`` the working directory of the start
``wait``      ``wait(descriptor, seconds)`` returns whether a write will not block; None if
              no write can
``deliver``   writes a report in another way; None for the usual one
``reopen``    makes ``fd`` the file of a path again; None without a path
``forked``    called in a forked child
``at_exit``   called at the end
``is_plain``  whether ``_crash`` alone can write to it: a pipe or a file on disk
"""

import os
import stat
import sys
from _thread import allocate_lock, start_new_thread

from crashenv._seldom import crashfile
from crashenv._seldom.settings import Problem

if os.name == "nt":
    from crashenv._seldom import windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

    from crashenv._seldom.settings import Settings

    Identity = tuple[int, int]

_EBADF, _ENXIO = 9, 6  # on every system; importing errno takes 0.05 ms
_DEVICE_TTYS = 5  # major of /dev/tty, /dev/console, /dev/ptmx: reopening gives another file
_POLLOUT = 4


def new() -> "SimpleNamespace":
    """Return an output with the default settings and without a file yet; as in the start."""
    namespace: Any = type(sys.implementation)  # types.SimpleNamespace
    new: SimpleNamespace = namespace(
        fd=None, source=None, identity=None, dumps=-1, directory="", is_plain=False,
        timeout=5.0, limit=1 << 20, threads="report", traceback="single", signal=0, tags=(),
        wait=None, deliver=None, reopen=None, forked=None, at_exit=None,
    )  # fmt: skip
    return new


def identity(status: "os.stat_result") -> "Identity":
    if os.name == "nt":
        return windows.of(status)[:0:-1]
    return status.st_dev, status.st_ino


def identity_of(fd: int) -> "Identity":
    """Return the identity of the descriptor's file. Raise OSError."""
    if os.name == "nt":
        return windows.fstat(fd)[:0:-1]
    return identity(os.fstat(fd))


def is_file(fd: int, expected: "Identity") -> bool:
    """Return whether descriptor ``fd`` is open and is the ``expected`` file."""
    try:
        return identity_of(fd) == expected
    except (OSError, OverflowError):
        return False


def apply(output: "SimpleNamespace", settings: "Settings") -> None:
    output.timeout = min(settings.timeout, 1e6)  # below every platform's TIMEOUT_MAX
    output.limit = settings.limit
    output.threads = settings.threads
    output.traceback = settings.traceback
    output.signal = settings.signal
    output.tags = tuple([("tag." + name, value) for name, value in settings.tags.items()])
    try:
        output.directory = os.getcwd()
    except OSError:  # it was removed
        pass


def open_source(output: "SimpleNamespace", fd: int, state: "Any") -> None:
    """Make ``output`` write to the file of descriptor ``fd``, which stays as it is.

    ``state`` is the start's. Raises Problem or OSError.

    Reopening a pipe or a terminal through /proc/self/fd (proc(5)) gives an open
    file description of our own, whose O_NONBLOCK the parent does not share. Regular
    files never block and are only duplicated: the shared offset keeps one writer from
    overwriting the other. Sockets cannot be reopened, so poll(2) is used.
    """
    if os.name == "nt":
        use_copy(output, fd, state)
        output.source = fd
        output.reopen = lambda current: _copy_again(current, fd, state)
        return
    status = os.fstat(fd)
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise Problem("is a directory")
    if not stat.S_ISSOCK(mode):
        _check_writable(fd)
    own, may_block = fd, False
    terminal = stat.S_ISCHR(mode) and os.major(status.st_rdev) != _DEVICE_TTYS
    if stat.S_ISREG(mode):
        may_block = _is_remote(status.st_dev)
    elif stat.S_ISFIFO(mode) or (terminal and os.isatty(fd)):
        own, may_block = _reopened(fd, identity(status))
    else:
        may_block = stat.S_ISSOCK(mode) and os.get_blocking(fd)
    if own == fd and not stat.S_ISREG(mode):
        output.wait = _poller()
    _finish(output, own, fd, may_block, state)
    output.source = fd


def use_copy(output: "SimpleNamespace", fd: int, state: "Any") -> None:
    """On Windows, make ``output`` write to a copy of ``fd``. Raises Problem or OSError."""
    own, may_block = windows.copy_of(fd)
    _finish(output, own, -1, may_block, state)


def _copy_again(current: "SimpleNamespace", fd: int, state: "Any") -> None:
    if is_file(fd, current.identity):
        windows.reopen(current, windows.handle_of(fd), state)


def open_path(output: "SimpleNamespace", path: str, state: "Any", is_own: bool = False) -> None:
    """Make ``output`` write to the file ``path``. Raises Problem or OSError."""
    own = crashfile.open_file(path)
    status = os.fstat(own)
    may_block = stat.S_ISREG(status.st_mode) and _is_remote(status.st_dev)
    _finish(output, own, -1, may_block, state)
    output.is_plain = False
    output.reopen = lambda current: _reopen(current, path, state, is_own)
    if is_own and not may_block:  # on NFS this lock would conflict with the lock of writing
        crashfile.hold(output.fd)


def open_passed_elsewhere(
    output: "SimpleNamespace", path: str, expected: "Identity", state: "Any"
) -> None:
    """Open the crash output by a ``path`` such as /proc/4242/fd/5, if it is ``expected``.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    own = os.open(path, flags)
    if not is_file(own, expected):
        os.close(own)
        raise OSError(_ENXIO, os.strerror(_ENXIO))
    _finish(output, own, -1, False, state)
    output.reopen, output.is_plain = (lambda current: None), False


def _finish(output: "SimpleNamespace", own: int, kept: int, may_block: bool, state: "Any") -> None:
    """Make ``own`` the private copy, and close it unless it is ``kept``."""
    try:
        output.identity = identity_of(own)
        output.fd = duplicate_high(own)
    finally:
        if own != kept:
            os.close(own)
    output.dumps = output.fd
    is_plain = output.wait is None and not may_block and output.traceback == "single"
    output.is_plain = is_plain and os.name == "posix"
    if may_block:
        from crashenv._seldom import relay

        # Without a relay there is no dump: a program that never ends would be worse.
        output.dumps = relay.start(output.fd, output.timeout)
        if output.dumps >= 0:
            pipe, output.dumps = output.dumps, duplicate_high(output.dumps)
            os.close(pipe)
        if output.wait is None:
            output.deliver = lambda data: _deliver_aside(output, data, state)


def _reopened(fd: int, expected: "Identity") -> "tuple[int, bool]":
    """Return a descriptor, non-blocking if possible, and whether a write to it may block."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        own = os.open("/proc/self/fd/%d" % fd, flags)
    except OSError as error:  # no /proc, another user's pipe
        # ENXIO: the reader has gone, so a write raises EPIPE
        return fd, error.errno != _ENXIO and os.get_blocking(fd)
    if is_file(own, expected):
        return own, False
    os.close(own)
    return fd, os.get_blocking(fd)


def _poller() -> "Any":
    try:
        from select import poll
    except ImportError:  # Windows
        return None

    def wait(descriptor: int, seconds: float) -> bool:
        ready = poll()
        ready.register(descriptor, _POLLOUT)
        return bool(ready.poll(max(0.0, seconds) * 1000))

    return wait


def _deliver_aside(output: "SimpleNamespace", data: bytes, state: "Any") -> None:
    """Write in another thread, which may wait for a dead file server for ever."""
    usual = type(output)(**vars(output))
    usual.deliver = None
    done = allocate_lock()
    done.acquire()
    names = state.names_for(state, "deliver")

    def write() -> None:
        try:
            names["deliver"](usual, data)
        finally:
            output.fd = usual.fd
            done.release()

    try:
        start_new_thread(write, ())
    except RuntimeError:  # out of threads, or 3.12 and later at exit
        write()
    else:
        done.acquire(True, output.timeout)


def _reopen(current: "SimpleNamespace", path: str, state: "Any", is_own: bool) -> None:
    """Open ``path`` again if it is another file now: the path counts, not the file."""
    ours = is_file(current.fd, current.identity)
    try:
        if ours and identity(os.stat(path)) == current.identity:
            return
    except OSError:
        pass
    before, dumps = current.fd, current.dumps
    try:
        open_path(current, path, state, is_own)
    except (OSError, Problem):
        return  # keep the rotated file if a new one cannot be created
    if current.dumps >= 0 and state.output is current:
        state.use(state, current)
    for fd in {before, dumps} if ours else ():
        _close(fd)


def close(output: "SimpleNamespace") -> None:
    """Close our own descriptors."""
    if output.fd is not None and is_file(output.fd, output.identity):
        _close(output.fd)
        if output.dumps != output.fd:
            _close(output.dumps)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def _check_writable(fd: int) -> None:
    try:
        os.write(fd, b"")  # has no effect but this error (write(2))
    except OSError as error:
        if error.errno == _EBADF:
            raise Problem("is not open for writing") from None


def _is_remote(device: int) -> bool:
    if sys.platform != "linux" or os.major(device):
        return False  # on a disk; remote and in-memory file systems have no major number
    try:
        from crashenv._seldom import mounts

        return mounts.is_remote(device)
    except (ImportError, OSError):  # at a crash: no descriptor, no path
        return False


def duplicate_high(fd: int) -> int:
    """Return a close-on-exec copy with a number that ordinary opens do not reach.

    Raise OSError. fcntl(2) finds and takes a free number in one step, so no other thread
    can take it. The number is high, but cheap for the kernel (a table of 32 KiB).
    """
    if os.name == "nt":
        return windows.duplicate_high(fd)
    try:
        import fcntl
    except ImportError:  # WebAssembly
        return os.dup(fd)
    command = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # of Linux; PyPy has no name for it
    high = min(os.sysconf("SC_OPEN_MAX"), 4096)
    for number in (high - 1, high - 64, high // 2, 3):
        try:
            return int(fcntl.fcntl(fd, command, number))
        except OSError:  # EMFILE: no number is free from there on; EINVAL: above the limit
            pass
    return os.dup(fd)
