"""Crash outputs of every kind: opened, recognised again, closed.

A descriptor number means nothing without the file it stood for, so the file's
``(st_dev, st_ino)`` is kept and looked at again before every write: after an
``os.closerange`` the number may be somebody else's file.

An output is a ``types.SimpleNamespace``, which costs a start no class:

``fd``        our own descriptor, close-on-exec and at a high number; None if there is none
``source``    the descriptor that was passed; None for a file that is opened by its path
``identity``  ``(st_dev, st_ino)`` of the file
``dumps``     the descriptor that faulthandler writes to; -1 if it must not
``timeout``, ``limit``, ``threads``, ``traceback``, ``signal``, ``tags``  as the settings say
``directory`` the working directory of the start
``wait``      ``wait(descriptor, seconds)`` tells whether a write will not block; None if
              none can
``deliver``   writes a report in another way; None for the usual one
``reopen``    makes ``fd`` the file of a path again; None without a path
``forked``    called in a forked child
``at_exit``   called at the end
``is_plain``  whether the first half of ``_crash`` can do it: a pipe or a disk's file
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
_DEVICE_TTYS = 5  # major of /dev/tty, /dev/console, /dev/ptmx: opening makes another file
_POLLOUT = 4


def new() -> "SimpleNamespace":
    """An output with the default settings that leads nowhere yet; as in the start."""
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
    """Raises OSError."""
    if os.name == "nt":
        return windows.fstat(fd)[:0:-1]
    return identity(os.fstat(fd))


def is_file(fd: int, expected: "Identity") -> bool:
    """Whether descriptor ``fd`` is open and is the ``expected`` file."""
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

    Opening a pipe or a terminal again through /proc/self/fd (proc(5)) gives an open
    file description of our own, whose O_NONBLOCK the parent does not share. Regular
    files never block and are only duplicated: the common offset keeps one writer from
    overwriting the other. Sockets cannot be opened; poll(2) has to tell.
    """
    if os.name == "nt":
        own, may_block = windows.copied(fd)
        finish(output, own, -1, may_block, state)
        windows.follow(output, fd, state)
        output.source = fd
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
    finish(output, own, fd, may_block, state)
    output.source = fd


def open_path(output: "SimpleNamespace", path: str, state: "Any", is_own: bool = False) -> None:
    """Make ``output`` write to the file ``path``. Raises Problem or OSError."""
    own = crashfile.open_file(path)
    status = os.fstat(own)
    may_block = stat.S_ISREG(status.st_mode) and _is_remote(status.st_dev)
    finish(output, own, -1, may_block, state)
    output.is_plain = False
    output.reopen = lambda current: _reopen(current, path, state, is_own)
    if is_own and not may_block:  # on NFS it would be in the way of the lock of writing
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
    finish(output, own, -1, False, state)
    output.reopen, output.is_plain = (lambda current: None), False


def finish(output: "SimpleNamespace", own: int, kept: int, may_block: bool, state: "Any") -> None:
    """``own`` becomes the private copy; it is closed unless it is ``kept``."""
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

        # Without one: rather no dump than a program that never ends.
        output.dumps = relay.start(output.fd, output.timeout)
        if output.dumps >= 0:
            pipe, output.dumps = output.dumps, duplicate_high(output.dumps)
            os.close(pipe)
        if output.wait is None:
            output.deliver = lambda data: _deliver_aside(output, data, state)


def _reopened(fd: int, expected: "Identity") -> "tuple[int, bool]":
    """A descriptor by which a write cannot block, and whether it can after all."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        own = os.open("/proc/self/fd/%d" % fd, flags)
    except OSError as error:  # no /proc, another user's pipe
        # ENXIO: no reader any more, so a write raises EPIPE
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
    """Write in a thread that may wait for a dead file server for ever: this one goes on."""
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
    """Make ``fd`` the file of ``path`` again: the path counts, not the file that was opened."""
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
        return  # a rotated file that cannot be made anew is better than none
    if current.dumps >= 0 and state.output is current:
        state.use(state, current)
    for fd in {before, dumps} if ours else ():
        _close(fd)


def close(output: "SimpleNamespace") -> None:
    """Close what is ours."""
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
        return False  # a disk's; what is remote or in memory has no major number
    try:
        from crashenv._seldom import mounts

        return mounts.is_remote(device)
    except (ImportError, OSError):  # at a crash: no descriptor, no path
        return False


def duplicate_high(fd: int) -> int:
    """A close-on-exec copy at a number where ordinary opens do not land. Raises OSError.

    fcntl(2) finds a free number and takes it in one step: another thread cannot come
    between. Below the limit, as high as costs the kernel little (a table of 32 KiB).
    """
    if os.name == "nt":
        return windows.duplicate_high(fd)
    try:
        from fcntl import F_DUPFD_CLOEXEC, fcntl
    except ImportError:  # WebAssembly
        return os.dup(fd)
    high = min(os.sysconf("SC_OPEN_MAX"), 4096)
    for number in (high - 1, high - 64, high // 2, 3):
        try:
            return int(fcntl(fd, F_DUPFD_CLOEXEC, number))
        except OSError:  # EMFILE: none is free from there on; EINVAL: beyond the limit
            pass
    return os.dup(fd)
