"""One report at a time, whole if the reader takes it, and never for longer than agreed.

Crash side: see the package.
"""

import errno
import os
from _thread import allocate_lock, start_new_thread
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    import signal as _signal

    from crashenv._descriptor import PrivateCopy
else:
    import _signal

_PIPE_BUF = 4096  # what a pipe takes at once when poll says that it is ready (pipe(7))
_CHUNK = 1 << 16
_PAUSE = 0.005  # seconds between two tries of a full pipe or a taken lock
_LONGEST_WAIT = 1e6  # seconds; below every platform's TIMEOUT_MAX
_POLLOUT = 4

_lock = allocate_lock()


def after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock in the moment of the fork."""
    global _lock
    _lock = allocate_lock()


def write(copy: "PrivateCopy", data: bytes, timeout: float) -> None:
    """Write all of ``data``, or what a reader takes within ``timeout`` seconds.

    Swallows every OSError: the file may be closed, full or broken. Whoever
    cannot get the lock in time writes what fits without waiting.
    """
    deadline = monotonic() + min(timeout, _LONGEST_WAIT)
    if copy.may_block and copy.poll is None:
        _write_aside(copy, data, deadline)
    else:
        _write(copy, data, deadline)


def _write_aside(copy: "PrivateCopy", data: bytes, deadline: float) -> None:
    """In a thread that may wait for a dead file server for ever: this one goes on."""
    done = allocate_lock()
    done.acquire()

    def write_and_tell() -> None:
        try:
            _write(copy, data, deadline)
        except BaseException:  # would be printed
            pass
        finally:
            done.release()

    try:
        start_new_thread(write_and_tell, ())
    except RuntimeError:  # out of threads, or 3.12 and later at exit
        write_and_tell()
    else:
        done.acquire(timeout=max(0.0, deadline - monotonic()))


def _write(copy: "PrivateCopy", data: bytes, deadline: float) -> None:
    lock = _lock
    signals = _SignalsHeld()
    try:
        locked = lock.acquire(timeout=max(0.0, deadline - monotonic()))
        try:
            # One thread alone may open and close; the GIL does not see to that.
            if copy.refresh() if locked else copy.is_current():
                _write_locked(copy, data, deadline)
        finally:
            if locked:
                lock.release()
    finally:
        signals.release()


def _write_locked(copy: "PrivateCopy", data: bytes, deadline: float) -> None:
    fd = copy.fd
    recorded = _lock_record(fd, deadline)
    try:
        view = memoryview(data)
        size = _PIPE_BUF if copy.poll is not None else _CHUNK
        for start in range(0, len(data), size):
            _write_piece(copy, view[start : start + size], deadline)
    except OSError:  # _OutOfTime too
        pass
    finally:
        if recorded:
            _unlock_record(fd)


class _OutOfTime(OSError):
    pass


def _write_piece(copy: "PrivateCopy", piece: "memoryview", deadline: float) -> None:
    while piece:
        if copy.poll is not None:
            _wait_until_ready(copy.poll(), copy.fd, deadline)
        try:
            piece = piece[os.write(copy.fd, piece) :]
        except BlockingIOError:
            if monotonic() >= deadline:
                raise _OutOfTime from None
            sleep(_PAUSE)


def _wait_until_ready(poll: "select.poll", fd: int, deadline: float) -> None:
    poll.register(fd, _POLLOUT)
    if not poll.poll(max(0.0, deadline - monotonic()) * 1000):
        raise _OutOfTime


def _lock_record(fd: int, deadline: float) -> bool:
    """Take the POSIX record lock (lockf(3)), which also excludes forked processes.

    flock(2) belongs to the open file description, which those share. lockf
    locks from the current position on without end, so any two meet.
    """
    while True:
        try:
            os.lockf(fd, os.F_TLOCK, 0)
        except AttributeError:  # Windows
            return False
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN) or monotonic() >= deadline:
                return False
            sleep(_PAUSE)
        else:
            return True


def _unlock_record(fd: int) -> None:
    """Unlock before and after the position, which writing has moved."""
    try:
        os.lockf(fd, os.F_ULOCK, 0)
        os.lockf(fd, os.F_ULOCK, -os.lseek(fd, 0, os.SEEK_CUR))
    except OSError:  # a pipe has no position (ESPIPE)
        pass


class _SignalsHeld:
    """Holds back, in this thread, the signals that a write itself can raise.

    SIGPIPE (no reader), SIGXFSZ (RLIMIT_FSIZE) and SIGTTOU (a background job's
    terminal) end or stop a program that restored their default action. One that
    our write made pending is taken away again before the mask is restored.
    """

    _NAMES = ("SIGPIPE", "SIGXFSZ", "SIGTTOU")

    def __init__(self) -> None:
        self._mask: set[int] | None = None
        try:
            signals = {getattr(_signal, name) for name in self._NAMES}
            self._ours = signals - set(_signal.sigpending())
            self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, signals)
        except (AttributeError, OSError):  # Windows
            pass

    def release(self) -> None:
        if self._mask is None:
            return
        try:
            while self._ours and self._take():
                pass
        except OSError:
            pass
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)

    def _take(self) -> bool:
        if hasattr(_signal, "sigtimedwait"):
            return _signal.sigtimedwait(self._ours, 0) is not None
        # macOS and PyPy
        pending = self._ours & set(_signal.sigpending())
        return bool(pending and _signal.sigwait(pending))
