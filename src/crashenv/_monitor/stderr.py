"""``--capture-stderr``: a process that passes the program's stderr on and keeps its end.

It is a separate process, so that it outlives a monitor that is killed, and keeps serving
processes that the program left running: their stderr must not break. It ends with the
last writer.
"""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TAIL = 1 << 16  # bytes
_CHUNK = 1 << 16


class Tee:
    """``pid`` is the process's; ``stderr`` is for the program, and is to be closed then.

    If stderr is a terminal, the program gets another terminal, because with a pipe it
    would lose its colours and progress bars. Raises OSError.
    """

    def __init__(self, settle: "Callable[[], None]") -> None:
        """``settle`` is called in the new process, and closes what it does not need."""
        self._terminal = os.isatty(2)
        source, self.stderr = _open_terminal() if self._terminal else os.pipe()
        asked, self._ask = os.pipe()
        self._answer, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for fd in (self.stderr, self._ask, self._answer):
                    os.close(fd)
                settle()
                _pass_on(source, asked, answer)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answer)
        if self._terminal:
            self._source = source
        else:
            os.close(source)

    def resize(self) -> None:
        """Give the program's terminal the size of the real one."""
        if self._terminal:
            _copy_size(2, self._source)

    def tail(self, timeout: float) -> "bytes | None":
        """Return the last bytes, after all bytes written so far were passed on.

        Return None if that takes longer than ``timeout`` seconds. Call it only once.
        """
        content = b""
        try:
            os.write(self._ask, b"?")
        except BrokenPipeError:  # it ended with the last writer, and has answered
            pass
        try:
            poll = select.poll()
            poll.register(self._answer, select.POLLIN)
            while poll.poll(timeout * 1000):
                chunk = os.read(self._answer, _CHUNK)
                if not chunk:
                    return content
                content += chunk
        except OSError:
            pass
        return None


def _open_terminal() -> "tuple[int, int]":
    """Open a terminal with the settings and the size of stderr, which changes no bytes."""
    import termios

    master, slave = os.openpty()
    attributes = termios.tcgetattr(2)
    attributes[1] &= ~termios.OPOST  # the real terminal does it (termios(3))
    attributes[3] &= ~termios.TOSTOP
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    _copy_size(2, slave)
    return master, slave


def _copy_size(source: int, target: int) -> None:
    import fcntl
    import termios

    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:  # hung up
        pass


def _pass_on(source: int, asked: int, answer: int) -> None:
    """Copy ``source`` to stderr until its end; when ``asked``, answer once with the tail."""
    tail = bytearray()
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(asked, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if source in ready:
            try:
                chunk = os.read(source, _CHUNK)
            except OSError:  # EIO: the last writer closed the terminal (pty(7))
                chunk = b""
            tail += chunk
            del tail[:-TAIL]
            if not chunk or not _write(chunk):
                break
        elif asked in ready:  # and there is nothing left to pass on
            poll.unregister(asked)
            _write(bytes(tail), answer)
            os.close(answer)
            answer = -1
    if answer >= 0:
        _write(bytes(tail), answer)


def _write(data: bytes, fd: int = 2) -> bool:
    """Write to ``fd``; return whether it can still be read."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            return False  # the program's next write must fail like this one
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:  # a full disk, a terminal that hung up
            return True
    return True
