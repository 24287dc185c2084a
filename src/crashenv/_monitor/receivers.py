"""Who is given each record: the ``--on-crash`` program, what sends, counts or sums up."""

from time import monotonic

from crashenv._monitor.say import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from crashenv._monitor.program import Dispositions
    from crashenv.records import Record

    WaitUntil = Callable[[Callable[[], bool], float], bool]

    class Receiver(Protocol):
        """Never blocks, but in ``finish``, and then no longer than its own limit.

        ``deadline`` is when ``work`` wants to be called, monotonic, or None; ``work``
        moves it on.
        """

        deadline: float | None

        def take(self, record: Record, content: bytes, path: str) -> None:
            """A record was kept, ``content`` as one line of JSON, in ``path``.

            The path is empty if the store could not keep it.
            """

        def work(self) -> None: ...

        def child_ended(self, pid: int, status: int) -> None:
            """A child of the monitor, not the program, ended with that wait status."""

        def finish(self, wait_until: WaitUntil) -> None:
            """The program has ended, and every record was taken.

            ``wait_until(is_done, seconds)`` goes on with all of the monitor's work, and
            returns False if that takes longer, or if a signal asks the monitor to end.
            """


class Receivers:
    """All of them. What one raises costs a line, and never the monitor."""

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
                say("cannot start what receives the records: %r" % error)

    def deadlines(self) -> "list[float]":
        return [one.deadline for one in self._all if one.deadline is not None]

    def work(self) -> None:
        """Let those work whose time has come."""
        now = monotonic()
        for one in self._all[:]:
            is_due = one.deadline is not None and one.deadline <= now
            if is_due and not _guarded(one.work):  # or it would be called for ever
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
    """Whether ``call`` returned: the program must not lose its parent for what it raises."""
    try:
        call(*arguments)
    except Exception as error:
        say("%s: %r" % (getattr(call, "__qualname__", call), error))
        return False
    return True
