"""A process that copies faulthandler's output to a file that may block.

faulthandler writes to one descriptor, from a signal handler in which no Python code
can run and no wait can be limited. So it writes to a pipe, and this process copies
from there. It ends with the last writer.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

# The process is no child of the program, whose wait() must only see its own children.
# No signal of a terminal or a service manager ends it before the program.
# Only SIGALRM does: nothing else ends a write to a dead file server.
_SOURCE = """
import os, select, sys, _signal
if os.fork():
    os._exit(0)
os.setsid()
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {_signal.SIGALRM})
os.chdir('/')
timeout = min(float(sys.argv[1]), 1e6)
try:
    others = [int(name) for name in os.listdir('/proc/self/fd')]
except OSError:
    others = range(1000)
for fd in others:
    if fd > 3:
        try:
            os.close(fd)
        except OSError:
            pass
def write(data):
    while data:
        _signal.alarm(0)
        poll = select.poll()
        poll.register(3, select.POLLOUT)
        if not poll.poll(timeout * 1000):
            raise TimeoutError
        _signal.alarm(int(timeout) + 1)
        try:
            data = data[os.write(3, data[:4096]):]
        except BlockingIOError:
            pass
while True:
    data = os.read(0, 65536)
    if not data:
        break
    try:
        write(data)
    except OSError:
        break
    _signal.alarm(0)
"""
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ
_PIPE_SIZE = 1 << 20  # a dump of hundreds of threads; allowed for any user (pipe(7))


def start(fd: int, timeout: float) -> int:
    """Start a relay; return the descriptor to write to, or -1 if there is none.

    It is copied to the file of ``fd``, as far as the file accepts it within
    ``timeout`` seconds.

    The first process of a PID namespace has no relay: orphans become its children, so
    its wait() would see the relay, and when it ends, the kernel kills all others there,
    including the relay (pid_namespaces(7)).
    """
    if os.getpid() == 1 or not sys.executable or not hasattr(os, "posix_spawn"):
        return -1
    reader = writer = -1
    try:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)  # a dying process does not wait
        _enlarge(writer)
        _spawn(reader, fd, timeout)
        os.close(reader)
        reader = -1
        if _has_reader(writer):
            return writer
    except OSError:
        pass
    for opened in (reader, writer):
        if opened >= 0:
            os.close(opened)
    return -1


def _enlarge(pipe: int) -> None:
    try:
        from fcntl import fcntl

        fcntl(pipe, _SET_PIPE_SIZE, _PIPE_SIZE)
    except (ImportError, OSError):  # not Linux, a low limit
        pass


def _spawn(reader: int, fd: int, timeout: float) -> None:
    """Start the relay and wait for its short-lived parent, hidden from a SIGCHLD handler."""
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    dup2 = os.POSIX_SPAWN_DUP2
    actions = [(dup2, reader, 0), (dup2, fd, 3), *null]  # in this order: reader may be 3
    args = [sys.executable, "-I", "-S", "-c", _SOURCE, str(timeout)]
    child_ended = {_signal.SIGCHLD} - set(_signal.sigpending())
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child_ended)
    try:
        pid = os.posix_spawn(sys.executable, args, {}, file_actions=actions)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:  # the program ignores SIGCHLD (waitpid(2))
            pass
        if child_ended & set(_signal.sigpending()):
            _signal.sigwait(child_ended)
            if _child_changed():  # one signal may be for two children
                os.kill(os.getpid(), _signal.SIGCHLD)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _child_changed() -> bool:
    """Return whether wait() would return a child of the program."""
    options = os.WEXITED | os.WSTOPPED | os.WCONTINUED
    try:
        return os.waitid(os.P_ALL, 0, options | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _has_reader(writer: int) -> bool:
    """Return whether the relay is running: poll(2) shows an error on a pipe without a reader."""
    import select

    poll = select.poll()
    poll.register(writer, 0)
    return not poll.poll(0)
