"""The receivers of each record: the ``--on-crash`` program, sinks, metrics and summaries."""

from time import monotonic

from crashenv._monitor import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from crashenv._monitor.program import Dispositions
    from crashenv.records import Record

    WaitUntil = Callable[[Callable[[], bool], float], bool]

    class Receiver(Protocol):
        """Blocks only in ``finish``, and then no longer than its own limit.

        ``deadline`` is the monotonic time when ``work`` should be called, or None; ``work``
        sets the next one.
        """

        deadline: float | None

        def take(self, record: Record, content: bytes, path: str) -> None:
            """Take a record that was stored in ``path``; ``content`` is its line of JSON.

            The path is empty if it could not be stored.
            """

        def work(self) -> None: ...

        def child_ended(self, pid: int, status: int) -> None:
            """A child of the monitor, not the program, ended with this wait status."""

        def finish(self, wait_until: WaitUntil) -> None:
            """The program has ended, and all records were taken.

            ``wait_until(is_done, seconds)`` continues the monitor's other work, and
            returns False if that takes longer, or if a signal asks the monitor to end.
            """


class Receivers:
    """All receivers. If one raises an exception, a line is printed, and the monitor continues."""

    def __init__(
        self,
        makers: "Sequence[Callable[[Dispositions], Receiver]]",
        dispositions: "Dispositions",
    ) -> None:
        self._all: list[Receiver] = []
        for make in makers:
            try:
                self._all.append(make(dispositions))
            except Exception as error:
                say("cannot start a receiver of the records: %r" % error)

    def deadlines(self) -> "list[float]":
        return [one.deadline for one in self._all if one.deadline is not None]

    def work(self) -> None:
        """Let the receivers work whose deadline has come."""
        now = monotonic()
        for one in self._all[:]:
            is_due = one.deadline is not None and one.deadline <= now
            if is_due and not _guarded(one.work):  # otherwise it would be called for ever
                self._all.remove(one)

    def take(self, record: "Record", content: bytes, path: str) -> None:
        for one in self._all:
            _guarded(one.take, record, content, path)

    def child_ended(self, pid: int, status: int) -> None:
        for one in self._all:
            _guarded(one.child_ended, pid, status)

    def finish(self, wait_until: "WaitUntil") -> None:
        for one in self._all[:]:
            _guarded(one.finish, wait_until)


def _guarded(call: "Callable[..., None]", *arguments: "Any") -> bool:
    """Return whether ``call`` succeeded: an exception must not cost the program its parent."""
    try:
        call(*arguments)
    except Exception as error:
        say("%s: %r" % (getattr(call, "__qualname__", call), error))
        return False
    return True
