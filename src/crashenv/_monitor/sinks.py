"""``--sink``: start ``crashenv send`` when there is a crash to send.

The monitor itself loads neither sockets nor TLS, which need more memory than all of it, and
never waits for a network. A separate process sends, one at a time for each sink, and
ends when nothing is waiting or sending has no chance now. So an unreachable receiver costs a
process now and then, and one that hangs costs only that process. The process is executed,
not only forked from the monitor: it has the version of crashenv that is installed now,
no copies of the reports that the monitor holds in memory, and no end of the program's pipe.
The address, which may contain a key, is in its environment, where other users cannot see it.
"""

import os
import sys
from time import monotonic, time

import crashenv
from crashenv import _store
from crashenv._monitor import files, program, say
from crashenv._sinks.marks import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence

    from crashenv._monitor.receivers import WaitUntil
    from crashenv._sinks.address import Address
    from crashenv.records import Record
else:
    import _signal

_VARIABLE = "CRASHENV_SINK"  # of "crashenv send"
_LONGEST_AT_END = 2.0  # seconds after the program's end, for all sinks together
_PATIENCE = "1"  # seconds to try if a receiver fails; we try again later
_LEAST_PAUSE = 1.0  # seconds from one start to the next
_HOUR = 3600.0  # after that, a crash that was left out may be due
_PAUSE = 15.0  # if the sender failed
_LONG_PAUSE = 600.0  # if it cannot record what was sent, and would send it again
_NO_MARKS = 2
_TELLS_ITSELF = (0, 1, 2)  # the statuses of "crashenv send"
_MOST_UNKEPT = 64  # records that no store has
_MOST_BYTES = 8 << 20
# Isolated, because the variables and the folder are those of the program.
_FLAGS = ("-I", "-S", "-c")
_CODE = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from crashenv.__main__ import main; sys.exit(main())"
)


class Sinks:
    """``arguments`` are passed to ``crashenv send``: ``--redact`` and ``--sink-limit``."""

    def __init__(
        self,
        addresses: "Sequence[Address]",
        store: "str | None",
        arguments: "Sequence[str]",
        dispositions: program.Dispositions,
    ) -> None:
        folder = store or _store.default_folder()
        self._senders = [_Sender(one, folder, arguments, dispositions) for one in addresses]

        self.deadline: float | None = None
        self._set_deadline()

    def _set_deadline(self) -> None:
        found = [one.deadline for one in self._senders if one.deadline is not None]
        self.deadline = min(found, default=None)

    def take(self, record: "Record", content: bytes, path: str) -> None:
        for sender in self._senders:
            sender.take(content, path)
        self._set_deadline()

    def work(self) -> None:
        for sender in self._senders:
            sender.work()
        self._set_deadline()

    def child_ended(self, pid: int, status: int) -> None:
        for sender in self._senders:
            sender.child_ended(pid, status)
        self._set_deadline()

    def finish(self, wait_until: "WaitUntil") -> None:
        """Wait two seconds; the next monitor sends what is left."""
        for sender in self._senders:
            sender.hurry()
        self._set_deadline()
        wait_until(lambda: all(sender.is_idle() for sender in self._senders), _LONGEST_AT_END)
        for sender in self._senders:
            sender.stop()


class _Sender:
    """The sender for one sink. ``deadline`` is when to start it, None if nothing is waiting."""

    def __init__(
        self,
        address: "Address",
        folder: str,
        arguments: "Sequence[str]",
        dispositions: program.Dispositions,
    ) -> None:
        self._marks = Marks(folder, address)
        self._address = address
        self._folder = folder
        self._arguments = list(arguments)
        self._dispositions = dispositions
        self._unkept: list[bytes] = []  # records that no store has
        self._in_hand: list[bytes] = []  # those that are being sent
        self._pid = 0
        self._began = 0.0
        self._sent_before = 0
        self._is_wanted = False
        self.deadline: float | None = None
        if os.path.isdir(folder) and self._waiting(is_start=True):
            self._plan()

    def _waiting(self, is_start: bool = False) -> int:
        """Return how many records are waiting; for a new sink, not those that exist already."""
        try:
            self._marks.load()
            if is_start:
                self._marks.begin(now=True)
            return 0 if self._marks.is_new else len(self._marks.waiting())
        except OSError:  # then records cannot be stored there either, which is reported elsewhere
            return 0

    def _plan(self) -> None:
        """Plan to start soon, or when the receiver may be tried again."""
        now = monotonic()
        self.deadline = max(now + self._marks.until - time(), self._began + _LEAST_PAUSE, now)

    def take(self, content: bytes, path: str) -> None:
        if path:
            self._is_wanted = True
        elif len(self._unkept) < _MOST_UNKEPT and sum(map(len, self._unkept)) < _MOST_BYTES:
            self._unkept.append(content)
        else:
            say("%s: a crash that could not be stored was not sent" % self._address.shown)
        if not self._pid and self.deadline is None:
            self._marks.load()
            self._plan()

    def work(self) -> None:
        if self.deadline is not None and self.deadline <= monotonic() and not self._pid:
            self._start()

    def hurry(self) -> None:
        """The program has ended: start now, unless the receiver must be left alone."""
        self._began = 0.0
        if (self._is_wanted or self._unkept) and not self._pid:
            self._plan()
            self.work()

    def is_idle(self) -> bool:
        is_due = self.deadline is not None and self.deadline <= monotonic()
        return not self._pid and not is_due

    def _start(self) -> None:
        self.deadline = None
        self._began = monotonic()
        self._sent_before = self._marks.load().counts["sent"]
        root = os.path.dirname(os.path.dirname(os.path.abspath(crashenv.__file__)))
        command = [sys.executable, *_FLAGS, _CODE, root, "send", "--quiet", *self._arguments]
        command += ["--patience", _PATIENCE, "--store", self._folder]
        stdin = None
        try:
            if self._unkept:
                command.append("-")
                stdin = files.in_memory(b"".join(self._unkept))
            self._pid = program.start(
                command,
                {**os.environ, _VARIABLE: self._address.url},
                self._dispositions,
                stdin=stdin,
                stdout=2,
                is_apart=True,
            )
        except OSError as error:
            say("%s: cannot start the sender: %s" % (self._address.shown, error))
            self.deadline = monotonic() + _PAUSE
        else:
            self._in_hand, self._unkept = self._unkept, []
            self._is_wanted = self._is_wanted and bool(self._in_hand)
        finally:
            if stdin is not None:
                os.close(stdin)

    def child_ended(self, pid: int, status: int) -> None:
        if pid != self._pid or not pid:
            return
        self._pid = 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if code:
            self._unkept = self._in_hand + self._unkept
        if code not in _TELLS_ITSELF:
            say("%s: the sender ended with status %d" % (self._address.shown, code))
        waiting = self._waiting()
        if self._unkept or (self._is_wanted and not code):
            self._plan()
        elif waiting and not code:
            self.deadline = monotonic() + _HOUR
        elif waiting:
            self._plan()
        if code and self.deadline is not None:
            pause = _LONG_PAUSE if code == _NO_MARKS else _PAUSE
            self.deadline = max(self.deadline, monotonic() + pause)

    def stop(self) -> None:
        """Stop the sender. The next one sends what is not marked."""
        if not self._pid:
            return
        try:
            os.killpg(self._pid, _signal.SIGKILL)
            is_at_work = self._marks.load().counts["sent"] > self._sent_before
            is_new = not is_at_work and self._marks.hold(None)
        except OSError:
            return
        if is_new:
            text = "%s: did not answer in time; crashes waiting: %d"
            say(text % (self._address.shown, self._waiting() + len(self._in_hand)))
