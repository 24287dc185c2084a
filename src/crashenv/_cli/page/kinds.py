"""Group the records by kind of crash: how often, when, and in which programs it happened."""

from crashenv._cli import times
from crashenv._reading import crashes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from crashenv._reading.crashes import Row

_MOST_NAMES = 50  # programs, versions or hosts that one kind remembers
_OOM = "OOM killer"  # as in the summary of a death
_HOSTS = ("host", "hostname", "node", "pod")  # tags that name one


class Kind:
    """A kind of crash: ``newest`` is a row, ``times`` are seconds since 1970, ascending."""

    def __init__(self) -> None:
        self.newest: Row = {}
        self.count = 0
        self.times: list[int] = []
        self.programs: dict[str, None] = {}
        self.versions: dict[str, None] = {}
        self.hosts: dict[str, None] = {}
        self.is_oom = False

    def add(self, row: "Row") -> None:
        self.newest = row
        self.count += 1
        when = times.seconds(row["time"])
        if when is not None:
            self.times.append(when)
        _remember(self.programs, row["program"])
        record: Any = crashes.whole(row) or {}  # a row from a store has no version and no tags
        _remember(self.versions, record.get("python"))
        tags = record.get("tags")
        for name in _HOSTS:
            _remember(self.hosts, tags.get(name) if isinstance(tags, dict) else None)
        self.is_oom = row["kind"] == "death" and _OOM in row["summary"]

    @property
    def last(self) -> int:
        return self.times[-1] if self.times else 0


def _remember(names: "dict[str, None]", value: "Any") -> None:
    if isinstance(value, str) and value and len(names) < _MOST_NAMES:
        names[value] = None


def of(rows: "Iterable[Row]", tell: "Callable[[int], None]") -> "list[Kind]":
    """Return the kinds, the newest first. ``tell`` is called with the number of rows read."""
    found: dict[str, Kind] = {}
    for number, row in enumerate(rows):
        tell(number)
        found.setdefault(row["fingerprint"], Kind()).add(row)
    for kind in found.values():
        kind.times.sort()
    return sorted(found.values(), key=lambda kind: kind.last, reverse=True)
