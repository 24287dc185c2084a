"""``crashenv list``: one row a crash, or one a kind of crash."""

import os
import sys

from crashenv import _store
from crashenv._cli import times
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import Progress, Style, printable, sizes, width, write
from crashenv._reading import crashes, own

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
        raise UsageError("--since: %r is no time, as are %s" % (text, examples)) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError("-n: %r is not a number" % text)
    return int(text)


STORE = Option(
    "--store",
    "DIR",
    "where the records are; $XDG_STATE_HOME/crashenv, or\n~/.local/state/crashenv, unless given",
)
TRACEBACKS = Option("--tracebacks", "", "also those in a log that stand there without a report")
OWN = Option(
    "--own",
    "PATTERN",
    "the program is what matches PATTERN: /srv/*, mypackage, jobs/*.py;\n"
    "may be given more than once",
    many=True,
)
SINCE = Option(
    "--since",
    "TIME",
    'only what happened since TIME: "2026-11-22 10:00", "10:00",\n"today", "yesterday", "2h", "7d"',
    _since,
)
_COMMAND = Command(
    "list",
    "[OPTION...] [FILE...]",
    """\
List the crashes in the store, the newest last, or those in each FILE: what crashfd
or crashfile wrote, a log with reports among other lines, or what "crashenv parse"
printed. A folder is a store, or has such files.

SEEN tells how many of them are this same crash: of the same type of exception, in
the same functions of the program, whatever the line numbers and the message.
""",
    (
        STORE,
        Option("-g, --group", "", "one row for each kind of crash, with its first and last time"),
        SINCE,
        Option("--program", "NAME", "only of programs of this name or path, with * and ?"),
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
    problems = crashes.Problems("list")
    own.prefer(values["own"] or ())
    is_with_tracebacks = bool(values["tracebacks"])
    progress = Progress("crashenv list", quiet=False)
    progress.begin("reading", sizes(values.operands), "bytes")
    rows = crashes.rows(
        values.operands, values["store"], problems, is_with_tracebacks, progress.add
    )
    progress.end()
    if values.operands:
        rows = in_order(rows)
    unknown = [row for row in rows if row["program"] is None] if values["program"] else []
    rows = [row for row in rows if is_meant(row, values)]
    add_seen(rows)
    if values["group"]:
        rows = _groups(rows)
    if values["newest"] is not None:
        rows = rows[len(rows) - min(len(rows), values["newest"]) :]
    if values["json"]:
        from crashenv._reading.encode import to_json

        keys = (*_IN_JSON, "seen", *(("first",) if values["group"] else ()))
        write("".join([to_json({key: row[key] for key in keys}) + "\n" for row in rows]))
    elif rows:
        _print(rows, values["group"])
    problems.tell()
    if unknown:
        told = "crashenv list: left out %d that do not name their program, as native dumps\n"
        sys.stderr.write(told % len(unknown))
    if problems.unreadable:
        return UNREADABLE
    if not rows and not values["json"]:
        sys.stderr.write("crashenv list: %s\n" % nothing_in(values))
    return 0 if rows else NOTHING


def nothing_in(values: "Values") -> str:
    folder = values["store"] or _store.default_folder()
    places = [printable(place) for place in values.operands or [folder]]
    told = "no crashes in " + ", ".join(places)
    if values.operands or os.path.isdir(folder):
        return told
    if values["store"]:
        return told + ": there is no such folder"
    return told + ": there is no such folder yet; 'crashenv run COMMAND' makes it"


def in_order(rows: "list[Row]") -> "list[Row]":
    """The newest last. A dump has no time: it stays behind what stood before it."""
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
    # What has no time is left out if it is certainly older.
    when = times.seconds(row["time"] or row.get("until"))
    if since is not None and when is not None and when < since:
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
    """The newest of each fingerprint, with the time of the first."""
    groups: dict[str, Any] = {}
    for row in rows:
        fingerprint = row["fingerprint"]
        first = groups.pop(fingerprint)["first"] if fingerprint in groups else row["time"]
        row["first"] = first if first is not None else row["time"]
        groups[fingerprint] = row  # again, for the order
    return list(groups.values())


_GAP = "  "
_LEAST_OF_WHAT = 30  # characters, where that many are needed
_LEAST = {"PROGRAM": 8, "WHERE": 12}  # of columns that are cut, the last first
_LEFT_OUT = ("PID", "PROGRAM", "SEEN")  # then the first of these, and the others at the end
_SHORT_TIME = slice(5, 16)  # in between, without year and seconds


def _print(rows: "list[Row]", grouped: bool) -> None:
    """A table whose last column, which is free text, takes what room is left."""
    head = ("TIME", "PID", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    if grouped:
        head = ("FIRST", "LAST", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    columns = list(zip(head, *[_cells(row, grouped) for row in rows]))
    most = width()
    if most is not None:
        columns = _narrowed(columns, most)
    cells = [_aligned(column) for column in columns[:-1]] + [list(columns[-1])]
    lines = [_GAP.join(row) for row in zip(*cells)]
    if most is not None:
        lines = [_cut(line, most) for line in lines]
    lines[0] = Style(sys.stdout).strong(lines[0])
    write("\n".join(lines) + "\n")


def _aligned(column: "Sequence[str]") -> "list[str]":
    size = max(map(len, column))
    if column[0] in ("PID", "SEEN"):
        return [cell.rjust(size) for cell in column]
    return [cell.ljust(size) for cell in column]


def _narrowed(columns: "list[tuple[str, ...]]", most: int) -> "list[tuple[str, ...]]":
    """Leave room for WHAT on a narrow terminal."""
    wanted = min(_LEAST_OF_WHAT, max(map(len, columns[-1])))

    def missing() -> int:
        sizes = [max(map(len, column)) + len(_GAP) for column in columns[:-1]]
        return sum(sizes) + wanted - most

    for name in reversed(list(_LEAST)):
        index = next(n for n, column in enumerate(columns) if column[0] == name)
        size = max(map(len, columns[index]))
        if missing() > 0:
            size = max(_LEAST[name], size - missing())
            columns[index] = tuple([_cut(cell, size) for cell in columns[index]])
    if missing() > 0:
        columns = [column for column in columns if column[0] != _LEFT_OUT[0]]
    if missing() > 0:
        columns = [
            (column[0], *[cell[_SHORT_TIME] or cell for cell in column[1:]])
            if column[0] in ("TIME", "FIRST", "LAST")
            else column
            for column in columns
        ]
    for name in _LEFT_OUT[1:]:
        if missing() > 0:
            columns = [column for column in columns if column[0] != name]
    return columns


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: max(0, size - 1)] + "…"


def _cells(row: "Row", grouped: bool) -> "tuple[str, ...]":
    when = times.local(row["time"])
    number = "-" if row["pid"] is None else str(row["pid"])
    return (
        *((times.local(row["first"]), when) if grouped else (when, number)),
        printable(row["id"][:_SHOWN_OF_ID]),
        str(row["seen"]),
        printable((row["program"] or "-").replace("\\", "/").rpartition("/")[2] or "-"),
        printable(row["where"] or "-"),
        printable(row["summary"]),
    )
