"""``crashenv list``: one row a crash, or one a kind of crash."""

import sys

from crashenv import _store
from crashenv._cli import times
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import Style, printable, width, write
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
        raise UsageError("--since: %r is no time" % text) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError("-n: %r is not a number" % text)
    return int(text)


STORE = Option(
    "--store",
    "DIR",
    "where the records are; $XDG_STATE_HOME/crashenv, or\n~/.local/state/crashenv, unless given",
)
_COMMAND = Command(
    "list",
    "[OPTION...] [FILE...]",
    """\
List the crashes in the store, the newest last, or those in each FILE: what crashfd
or crashfile wrote, a log with reports among other lines, or what "crashenv parse"
printed.

SEEN tells how many of them are this same crash: of the same type of exception, in
the same functions of the program, whatever the line numbers and the message.
""",
    (
        STORE,
        Option("-g, --group", "", "one row for each kind of crash, with its first and last time"),
        Option(
            "--since",
            "TIME",
            'only what happened since TIME: "2026-11-22 10:00", "10:00",\n'
            '"today", "yesterday", "2h", "7d"',
            _since,
        ),
        Option("--program", "NAME", "only of programs of this name or path, with * and ?"),
        Option("-n, --newest", "N", "only the newest N", _number),
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
    rows = crashes.rows(values.operands, values["store"], problems)
    if values.operands:
        rows = in_order(rows)
    rows = [row for row in rows if _is_meant(row, values)]
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
    if problems.unreadable:
        return UNREADABLE
    if not rows and not values["json"]:
        sys.stderr.write("crashenv list: %s\n" % nothing_in(values))
    return 0 if rows else NOTHING


def nothing_in(values: "Values") -> str:
    places = values.operands or [values["store"] or _store.default_folder()]
    return "no crashes in " + ", ".join(places)


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


def _is_meant(row: "Row", values: "Values") -> bool:
    since, program = values["since"], values["program"]
    if since is not None and (times.seconds(row["time"]) or 0) < since:
        return False
    return program is None or _matches(row["program"] or "", program)


def _matches(path: str, pattern: str) -> bool:
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


def _print(rows: "list[Row]", grouped: bool) -> None:
    """A table whose last column, which is free text, takes what room is left."""
    head = ("TIME", "PID", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    if grouped:
        head = ("FIRST", "LAST", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT")
    table = [head, *[_cells(row, grouped) for row in rows]]
    widths = [max(map(len, column)) for column in list(zip(*table))[:-1]]
    numbers = [name in ("PID", "SEEN") for name in head]
    columns = ["%%%s%ds" % ("" if number else "-", size) for number, size in zip(numbers, widths)]
    layout = "  ".join([*columns, "%s"])
    lines = [layout % cells for cells in table]
    most = width()
    if most is not None:
        lines = [line if len(line) <= most else line[: most - 1] + "…" for line in lines]
    lines[0] = Style(sys.stdout).strong(lines[0])
    write("\n".join(lines) + "\n")


def _cells(row: "Row", grouped: bool) -> "tuple[str, ...]":
    when = times.local(row["time"])
    number = "-" if row["pid"] is None else str(row["pid"])
    return (
        *((times.local(row["first"]), when) if grouped else (when, number)),
        row["id"][:_SHOWN_OF_ID],
        str(row["seen"]),
        printable((row["program"] or "-").rpartition("/")[2] or "-"),
        printable(row["where"] or "-"),
        printable(row["summary"]),
    )
