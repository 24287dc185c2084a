"""The monitor's options, from ``crashenv run`` or from a program."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crashenv._monitor.program import Dispositions
    from crashenv._monitor.receivers import Receiver


class Options:
    """``command`` is the command to run.

    ``store`` is the folder of the records, or None for the user's own; it keeps the
    newest ``most_records`` and ``most_bytes`` of them. ``receivers`` are functions that
    return a receiver of the records; they are called once, before the program starts, so
    their imports cost each start. With ``quiet``, no line is printed for each crash.
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
