"""What the monitor is asked for, by ``crashenv run`` or by a program."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crashenv._monitor.program import Dispositions
    from crashenv._monitor.receivers import Receiver


class Options:
    """``command`` is what is to be run.

    ``store`` is the folder of the records, or None for the user's own; it keeps the
    newest ``most_records`` and ``most_bytes`` of them. ``receivers`` make who is given
    each record; they are called once, before the program starts, so what they import
    costs each start. ``quiet`` prints no line for each crash.
    """

    def __init__(self, command: "Sequence[str]") -> None:
        self.command = list(command)
        self.store: str | None = None
        self.most_records: int | None = None
        self.most_bytes: int | None = None
        self.receivers: list[Callable[[Dispositions], Receiver]] = []
        self.capture_stderr = False
        self.quiet = False
        self.variable = ""
        self.dump_on_term: float | None = None
        self.earlier: int | str | None = None
