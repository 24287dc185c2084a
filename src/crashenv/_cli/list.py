"""``crashenv list``: one row for each crash, or for each kind of crash."""

import gc
import os
import sys

from crashenv import _store
from crashenv._cli import times
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import Progress, Style, printable, sizes, width, write
from crashenv._reading import crashes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from crashenv._cli.options import Values
    from crashenv._reading.crashes import Row

NOTHING = 1
UNREADABLE = 2
_SHOWN_OF_ID = 8
_IN_JSON = ("id", "time", "pid", "kind", "summary", "where", "program", "fingerprint")


def _since(text: str) -> int:
    try:
        return times.parse(text)
    except (ValueError, OverflowError):
        examples = '2h, 7d, today, yesterday, 10:00, "2026-11-22 10:00"'
        raise UsageError("--since: %r is not a time such as %s" % (text, examples)) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError("-n: %r is not a number" % text)
    return int(text)


STORE = Option(
    "--store",
    "DIR",
    "the folder of the records (default: $XDG_STATE_HOME/crashenv,\nor ~/.local/state/crashenv)",
)
TRACEBACKS = Option("--tracebacks", "", "include tracebacks in logs without a report")
OWN = Option(
    "--own",
    "PATTERN",
    "treat matching files as the program's own: /srv/*, mypackage,\n"
    "jobs/*.py; may be given more than once",
    many=True,
)
SINCE = Option(
    "--since",
    "TIME",
    'only crashes since TIME: "2026-11-22 10:00", "10:00", "today",\n"yesterday", "2h", "7d"',
    _since,
)
_COMMAND = Command(
    "list",
    "[OPTION...] [FILE...]",
    """\
List the crashes in the store, the newest last, or those in each FILE: the output of
crashfd or crashfile, a log with reports among other lines, or the output of
"crashenv parse". A folder may be a store, or contain such files.

SEEN is how often this same crash happened: the same type of exception in the same
functions of the program, whatever the line numbers and the message.
""",
    (
        STORE,
        Option("-g, --group", "", "one row for each kind of crash, with its first and last time"),
        SINCE,
        Option("--program", "NAME", "only programs with this name or path, with * and ?"),
        Option("-n, --newest", "N", "only the newest N", _number),
        TRACEBACKS,
        OWN,
        Option("--json", "", "print lines of JSON"),
    ),
    """\
exit status:
  0  there were crashes to list
  1  there were none
  2  something cannot be read, or the options are wrong

examples:
  crashenv list --group --since yesterday
  crashenv list --program worker.py /var/log/worker.log
""",
    most=1 << 20,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _list)


def _list(values: "Values") -> int:
    if not values.operands:
        gc.disable()  # the rows of a store are made of texts and numbers
    problems = crashes.Problems("list")
    if values["own"]:
        from crashenv._reading import own

        own.prefer(values["own"])
    is_with_tracebacks = bool(values["tracebacks"])
    progress = Progress("crashenv list", quiet=False)
    progress.begin("reading", sizes(values.operands), "bytes" if values.operands else "records")
    rows = crashes.rows(
        values.operands, values["store"], problems, is_with_tracebacks, progress.add
    )
    progress.end()
    if values.operands:
        rows = in_order(rows)
    unknown = [row for row in rows if row["program"] is None] if values["program"] else []
    if values["since"] is not None or values["program"] is not None:
        rows = [row for row in rows if is_meant(row, values)]
    add_seen(rows)
    if values["group"]:
        rows = _groups(rows)
    if values["newest"] is not None:
        rows = rows[len(rows) - min(len(rows), values["newest"]) :]
    if values["json"]:
        from crashenv._reading.encode import to_json

        keys = (*_IN_JSON, "seen", *(("first",) if values["group"] else ()))
        for row in rows:
            write(to_json({key: row[key] for key in keys}) + "\n")
    elif rows:
        _print(rows, values["group"])
    problems.tell()
    if unknown:
        text = "crashenv list: left out %d that do not name their program, such as native dumps\n"
        sys.stderr.write(text % len(unknown))
    if problems.unreadable:
        return UNREADABLE
    if not rows and not values["json"]:
        sys.stderr.write("crashenv list: %s\n" % nothing_in(values))
    return 0 if rows else NOTHING


def nothing_in(values: "Values") -> str:
    folder = values["store"] or _store.default_folder()
    places = [printable(place) for place in values.operands or [folder]]
    text = "no crashes in " + ", ".join(places)
    if values.operands or os.path.isdir(folder):
        return text
    if values["store"]:
        return text + ": there is no such folder"
    return text + ": there is no such folder yet; 'crashenv run COMMAND' creates it"


def in_order(rows: "list[Row]") -> "list[Row]":
    """Sort with the newest last. A dump has no time: it stays after the record before it."""
    times, before = [], ""
    for row in rows:
        before = row["time"] or before
        times.append(before)
    return [rows[index] for index in sorted(range(len(rows)), key=times.__getitem__)]


def add_seen(rows: "list[Row]") -> None:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["fingerprint"]] = counts.get(row["fingerprint"], 0) + 1
    for row in rows:
        row["seen"] = counts[row["fingerprint"]]


def is_meant(row: "Row", values: "Values") -> bool:
    since, program = values["since"], values["program"]
    if since is not None:
        # A record without a time is left out if it is certainly older.
        when = times.seconds(row["time"] or row.get("until"))
        if when is not None and when < since:
            return False
    return program is None or _matches(row["program"] or "", program)


def _matches(path: str, pattern: str) -> bool:
    path, pattern = path.replace("\\", "/"), pattern.replace("\\", "/")
    name = path if "/" in pattern else path.rpartition("/")[2]
    if "*" in pattern or "?" in pattern:
        from fnmatch import fnmatchcase

        return fnmatchcase(name, pattern)
    return name == pattern


def _groups(rows: "list[Row]") -> "list[Row]":
    """Return the newest of each fingerprint, with the time of the first."""
    groups: dict[str, Any] = {}
    for row in rows:
        fingerprint = row["fingerprint"]
        first = groups.pop(fingerprint)["first"] if fingerprint in groups else row["time"]
        row["first"] = first if first is not None else row["time"]
        groups[fingerprint] = row  # again, for the order
    return list(groups.values())


_GAP = 2
_LEAST_OF_WHAT = 30  # characters, if that many are needed
_LEAST = {"WHERE": 12, "PROGRAM": 8}  # of columns that are cut, the first first
_LEFT_OUT = ("PID", "PROGRAM", "SEEN")  # then the first of these, and the others at the end
_TO_THE_RIGHT = ("PID", "SEEN")
_TIMES = ("TIME", "FIRST", "LAST")
_SHORT_TIME = slice(5, 16)  # in between, without year and seconds
_AT_ONCE = 50  # rows; the text of more would be a mapping of its own, made and removed


def _print(rows: "list[Row]", grouped: bool) -> None:
    """Print a table whose last column, which is free text, takes the remaining room."""
    names = ("TIME", "PID", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    if grouped:
        names = ("FIRST", "LAST", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    cells = _Cells(grouped)
    sizes = list(map(len, names))
    for row in _longest(rows):
        sizes = list(map(max, sizes, map(len, cells.of(row))))
    most = width()
    room = dict(zip(names, sizes))
    if most is not None:
        room = _narrowed(room, most)
    line = _Line(names, room, most)
    write(Style(sys.stdout).strong(line.of(names)) + "\n")
    of = line.of if most is not None else line.shape.__mod__
    for start in range(0, len(rows), _AT_ONCE):
        lines = [of(cells.of(row)) for row in rows[start : start + _AT_ONCE]]
        write("\n".join(lines) + "\n")


def _narrowed(room: "dict[str, int]", most: int) -> "dict[str, int]":
    """Return the remaining columns and their sizes, so that WHAT has some room too."""
    wanted = min(_LEAST_OF_WHAT, room["WHAT"])

    def missing() -> int:
        return sum(room.values()) - room["WHAT"] + _GAP * (len(room) - 1) + wanted - most

    for name, least in _LEAST.items():
        if missing() > 0:
            room[name] = max(least, room[name] - missing())
    if missing() > 0:
        room.pop(_LEFT_OUT[0], None)
    if missing() > 0:
        for name in _TIMES:
            if name in room:
                room[name] = min(room[name], _SHORT_TIME.stop - _SHORT_TIME.start)
    for name in _LEFT_OUT[1:]:
        if missing() > 0:
            room.pop(name)
    return room


class _Line:
    """A row of the table: which cells, and how wide."""

    def __init__(self, names: "Sequence[str]", room: "dict[str, int]", most: "int | None") -> None:
        shapes = [
            "%%%s%ds" % ("" if name in _TO_THE_RIGHT else "-", size) for name, size in room.items()
        ]
        self.shape = (" " * _GAP).join([*shapes[:-1], "%s"])
        self._chosen = [names.index(name) for name in room]
        self._cut = [(names.index(name), size) for name, size in room.items()][:-1]
        self._times = [
            names.index(name)
            for name in _TIMES
            if room.get(name) == _SHORT_TIME.stop - _SHORT_TIME.start
        ]
        self._most = most

    def of(self, cells: "Sequence[str]") -> str:
        if self._most is None:
            return self.shape % tuple(cells)
        cut = list(cells)
        for index in self._times:
            cut[index] = cut[index][_SHORT_TIME] or cut[index]
        for index, size in self._cut:
            cut[index] = _cut(cut[index], size)
        return _cut(self.shape % tuple([cut[index] for index in self._chosen]), self._most)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: max(0, size - 1)] + "…"


def _longest(rows: "list[Row]") -> "list[Row]":
    """Some of ``rows``, among them one with the longest cell of each column.

    To look at the cells of all takes half of the time, and to keep those of 100,000 50 MB.
    """
    found = [max(rows, key=lambda row: row[key] or 0) for key in ("pid", "seen")]
    found.append(max(rows, key=lambda row: len(row["summary"])))
    found += [row for row in rows if row["time"]][-1:]
    for key in ("program", "where"):
        found += {row[key]: row for row in rows}.values()
    return found


class _Cells:
    """The texts of a row. Programs crash again and again, so that most are known."""

    def __init__(self, grouped: bool) -> None:
        self._grouped = grouped
        self._shown = _Shown()
        self._names = _Names()

    def of(self, row: "Row") -> "tuple[str, ...]":
        when, pid, shown = times.local(row["time"]), row["pid"], self._shown
        return (
            times.local(row["first"]) if self._grouped else when,
            when if self._grouped else "-" if pid is None else str(pid),
            printable(row["id"][:_SHOWN_OF_ID]),
            str(row["seen"]),
            self._names[row["program"]],
            shown[row["where"] or "-"],
            shown[row["summary"]],
        )


class _Shown(dict):  # type: ignore[type-arg]
    def __missing__(self, text: str) -> str:
        self[text] = shown = printable(text)
        return shown


class _Names(dict):  # type: ignore[type-arg]
    def __missing__(self, program: "str | None") -> str:
        name = (program or "").replace("\\", "/").rpartition("/")[2]
        self[program] = shown = printable(name or "-")
        return shown
