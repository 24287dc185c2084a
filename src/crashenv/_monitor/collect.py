"""A monitor that is started by its program: it reads a pipe, and outlives the program.

This is like Go's ``ExampleSetCrashOutput_monitor``, for programs that cannot be wrapped, such
as services. It ends when the last process that holds the pipe has closed it.
"""

import os
import select
from time import monotonic, sleep

from crashenv import _parent
from crashenv._monitor import deaths, oom, program
from crashenv._monitor.family import status_of
from crashenv._monitor.receivers import Receivers
from crashenv._monitor.reports import Reports
from crashenv._starting import PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crashenv._monitor import Options

_CHUNK = 1 << 16
_LONGEST = 0.5  # seconds between two checks for processes that have ended
_PATIENCE = 1.0  # seconds for the parent to end, once it has closed the pipe


class Collector:
    """Reads ``source``, to which its parent writes."""

    def __init__(self, options: "Options", source: int) -> None:
        self._source = source
        self._parent, self._pidfd, options.command = _parent_of()
        self._began = monotonic()
        self._oom_kills = oom.kills()
        # All signals are blocked: it must outlive what ends its parent.
        self._receivers = Receivers(options.receivers, program.Dispositions())
        self._reports = Reports(options, self._parent, self._receivers)
        os.set_blocking(source, False)

    def let_go(self) -> None:
        """Close what was inherited and is not needed here."""
        if self._pidfd >= 0:
            os.set_inheritable(self._pidfd, False)
        _parent.let_go()

    def run(self) -> None:
        """Read to the end of the pipe, and finish."""
        while self._step():
            pass
        self._report_parent()
        self._reports.finish()
        self._receivers.finish(self._wait_until)

    def _step(self, longest: float = _LONGEST) -> bool:
        """Wait for something to do, and do it; return False at the end of the pipe."""
        poll = select.poll()
        if self._source >= 0:
            poll.register(self._source, select.POLLIN)
        now = monotonic()
        timeouts = [longest, *self._reports.timeouts()]
        timeouts += [deadline - now for deadline in self._receivers.deadlines()]
        is_ready = poll.poll(max(0, min(timeouts)) * 1000)
        data = os.read(self._source, _CHUNK) if is_ready else None
        if data:
            self._reports.feed(data)
        self._reap()
        self._reports.work()
        if self._reports.is_quiet():
            self._reports.flush(is_early=False)
        self._receivers.work()
        return data != b""

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._receivers.child_ended(pid, status)

    def _report_parent(self) -> None:
        """Report how the parent died, if it did not report that itself."""
        os.close(self._source)
        self._source = -1
        if self._pidfd < 0:
            return
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):  # it lives on, and has closed the crash output
            return
        kills = None if self._oom_kills is None else (oom.kills() or 0) - self._oom_kills
        status = status_of(self._parent, self._pidfd)
        ending = deaths.ending_of_member(status, monotonic() - self._began, kills)
        if status is not None:
            self._reports.program_ended(ending, None)

    def _wait_until(self, is_done: "Callable[[], bool]", longest: float) -> bool:
        deadline = monotonic() + longest
        while not is_done():
            if monotonic() > deadline:
                return False
            if self._source < 0:
                sleep(0.01)
            self._reap()
            self._receivers.work()
        return True


def run(options: "Options") -> None:
    """Read standard input to its end."""
    source = os.dup(0)
    collector = Collector(options, source)
    collector.let_go()
    collector.run()


def _parent_of() -> "tuple[int, int, list[str]]":
    """Return the process id, the pidfd (-1 if there is none) and the command line of the parent."""
    parts = os.environ.pop(PARENT, "").split("\x1f")
    if len(parts) > 2:
        return int(parts[0]), int(parts[1]), parts[2:]
    pid = os.getppid()
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Linux 5.3
        pidfd = -1
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            words = file.read(_CHUNK).split(b"\0")
    except OSError:
        words = []
    return pid, pidfd, [os.fsdecode(word) for word in words[:-1]] or ["?"]
