"""``--on-crash``: a program of the user's that is run for each record, one at a time."""

import os
from time import monotonic

from crashenv._monitor import files, printable, program, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping

    from crashenv._monitor.receivers import WaitUntil
    from crashenv.records import Record
else:
    import _signal

LONGEST = 30.0  # seconds for one run
_FAILURES = {program.NOT_FOUND: "not found", program.NOT_EXECUTABLE: "not executable"}
_MOST_WAITING = 64
_MOST_BYTES = 8 << 20  # of all that wait


class Hook:
    """Runs ``command`` with our own environment, which does not name the program's pipe."""

    def __init__(self, command: "list[str]", dispositions: program.Dispositions) -> None:
        self._command = command
        self._dispositions = dispositions
        self._waiting: list[tuple[int, int, Mapping[str, str]]] = []
        self._pid = 0
        self._lost = 0
        self._is_late = False
        self.deadline: float | None = None

    def take(self, record: "Record", content: bytes, path: str) -> None:
        """Run it with ``content`` on its standard input, after the previous runs have ended."""
        variables = variables_of(record, path)
        size = sum(waiting[1] for waiting in self._waiting)
        if len(self._waiting) >= _MOST_WAITING or (self._waiting and size > _MOST_BYTES):
            self._lost += 1
            return
        try:
            self._waiting.append((files.in_memory(content), len(content), variables))
        except OSError as error:
            self._fail(str(error))
        self._start_next()

    def _is_idle(self) -> bool:
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
            number = os.WTERMSIG(status)
            self._fail(
                "took more than %d s" % LONGEST if self._is_late else "ended by signal %d" % number
            )
        elif os.WEXITSTATUS(status):
            code = os.WEXITSTATUS(status)
            self._fail(_FAILURES.get(code, "exit status %d" % code))
        self._pid = 0
        self._is_late = False
        self.deadline = None
        self._start_next()

    def work(self) -> None:
        """Kill the current run: its time is over."""
        self.deadline = None
        self._is_late = True
        self._kill()

    def finish(self, wait_until: "WaitUntil") -> None:
        """Wait for the current and the waiting runs, and say how many were left out."""
        if not wait_until(self._is_idle, LONGEST):
            self._give_up()
        if self._lost:
            self._fail("was not run for %d crashes" % self._lost)

    def _give_up(self) -> None:
        """Kill the current run, and drop the waiting ones."""
        self._lost += len(self._waiting)
        while self._waiting:
            os.close(self._waiting.pop()[0])
        if self._pid:
            self._fail("was still running")
            self._kill()

    def _kill(self) -> None:
        """Kill its process group, with all processes that it started."""
        try:
            os.killpg(self._pid, _signal.SIGKILL)
        except OSError:
            pass

    def _fail(self, reason: str) -> None:
        say("--on-crash %s: %s" % (self._command[0], reason))


def variables_of(record: "Record", path: str) -> "dict[str, str]":
    """Return the variables for the program's environment."""
    return {
        "CRASHENV_ID": record["id"],
        "CRASHENV_KIND": record["kind"],
        "CRASHENV_SUMMARY": printable(record["summary"]),
        "CRASHENV_PROGRAM": printable(record["program"] or ""),
        "CRASHENV_FILE": path,
    }
