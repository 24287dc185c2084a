"""``--on-crash``: a program of the user's that is given each record, one after the other."""

import os
from time import monotonic

from crashenv._monitor import program
from crashenv._monitor.say import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping
else:
    import _signal

LONGEST = 30.0  # seconds, for one
_FAILURES = {program.NOT_FOUND: "not found", program.NOT_EXECUTABLE: "not executable"}
_MOST_WAITING = 64
_MOST_BYTES = 8 << 20  # of all that wait


class Hook:
    """Runs ``command`` with our own environment, which has nothing of the program's pipe."""

    def __init__(self, command: "list[str]", dispositions: program.Dispositions) -> None:
        self._command = command
        self._dispositions = dispositions
        self._waiting: list[tuple[int, int, Mapping[str, str]]] = []
        self._pid = 0
        self._lost = 0
        self.deadline: float | None = None

    def add(self, content: bytes, variables: "Mapping[str, str]") -> None:
        """Run it with ``content`` on its standard input, when those before have ended."""
        size = sum(waiting[1] for waiting in self._waiting)
        if len(self._waiting) >= _MOST_WAITING or (self._waiting and size > _MOST_BYTES):
            self._lost += 1
            return
        try:
            self._waiting.append((_file(content), len(content), variables))
        except OSError as error:
            self._fail(str(error))
        self._start_next()

    def is_idle(self) -> bool:
        return not self._pid

    def _start_next(self) -> None:
        while self._waiting and not self._pid:
            stdin, _, variables = self._waiting.pop(0)
            try:
                self._pid = program.start(
                    self._command,
                    {**os.environ, **variables},
                    self._dispositions,
                    stdin=stdin,
                    stdout=2,
                    is_apart=True,
                )
                self.deadline = monotonic() + LONGEST
            except OSError as error:
                self._fail(str(error))
            finally:
                os.close(stdin)

    def child_ended(self, pid: int, status: int) -> None:
        if pid != self._pid:
            return
        if os.WIFSIGNALED(status):
            is_late = self.deadline is not None and monotonic() >= self.deadline
            number = os.WTERMSIG(status)
            self._fail(
                "took more than %d s" % LONGEST if is_late else "ended by signal %d" % number
            )
        elif os.WEXITSTATUS(status):
            code = os.WEXITSTATUS(status)
            self._fail(_FAILURES.get(code, "exit status %d" % code))
        self._pid = 0
        self.deadline = None
        self._start_next()

    def kill_if_late(self) -> None:
        if self.deadline is not None and monotonic() >= self.deadline:
            self._kill()

    def give_up(self) -> None:
        """Nobody waits any longer."""
        self._lost += len(self._waiting)
        while self._waiting:
            os.close(self._waiting.pop()[0])
        if self._pid:
            self._fail("was still running")
            self._kill()

    def tell_lost(self) -> None:
        if self._lost:
            self._fail("%d crashes were not handed to it" % self._lost)

    def _kill(self) -> None:
        """Its process group, with all that it started."""
        try:
            os.killpg(self._pid, _signal.SIGKILL)
        except OSError:
            pass

    def _fail(self, reason: str) -> None:
        say("--on-crash %s: %s" % (self._command[0], reason))


def _file(content: bytes) -> int:
    """A file in memory, from which the program reads as slowly as it likes. Raises OSError."""
    fd = os.memfd_create("crash.json")
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
