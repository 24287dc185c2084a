"""A process that writes what faulthandler writes to two files.

faulthandler writes to one descriptor, from a signal handler in which no Python
can run. So while two want its dumps it writes to a pipe, and this process, which
does nothing else, copies from there. It ends when nobody is left to write.
"""

import os
import sys

from crashenv._descriptor import duplicate_high

# In a process of its own, and of no children: what the program waits for is its
# own. No signal of a terminal or a service manager ends it before the program.
_SOURCE = """
import os, select, _signal
if os.fork():
    os._exit(0)
os.setsid()
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
os.chdir('/')
for name in os.listdir('/proc/self/fd'):
    if int(name) > 4:
        try:
            os.close(int(name))
        except OSError:
            pass
files = [4, 3]
def write(fd, data):
    while data:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        if not poll.poll(5000):
            raise TimeoutError
        try:
            data = data[os.write(fd, data[:4096]):]
        except BlockingIOError:
            pass
while True:
    data = os.read(0, 65536)
    if not data:
        break
    for fd in files[:]:
        try:
            write(fd, data)
        except OSError:
            files.remove(fd)
"""


def start(ours: int, theirs: int) -> int:
    """The descriptor to write to; -1 if there can be no relay.

    The first process of a container would be given the relay as a child, and
    could wait for it for ever: none there.
    """
    if os.getpid() == 1 or not sys.executable or not hasattr(os, "posix_spawn"):
        return -1
    opened: list[int] = []
    try:
        opened.extend(os.pipe())
        opened.append(duplicate_high(theirs))
        reader, writer, their_copy = opened
        os.set_blocking(writer, False)  # a dying process does not wait
        actions = [
            (os.POSIX_SPAWN_DUP2, reader, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, ours, 3),
            (os.POSIX_SPAWN_DUP2, their_copy, 4),
        ]
        args = [sys.executable, "-I", "-S", "-c", _SOURCE]
        pid = os.posix_spawn(sys.executable, args, {}, file_actions=actions)
        # The relay itself is the child of this short-lived one.
        status = os.waitpid(pid, 0)[1]
        return duplicate_high(writer) if status == 0 else -1
    except OSError:
        return -1
    finally:
        for fd in opened:
            os.close(fd)
