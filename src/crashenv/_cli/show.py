"""``crashenv show``: print one crash."""

import os
import sys

from crashenv._cli import times
from crashenv._cli.list import OWN, STORE, TRACEBACKS, add_seen, in_order, nothing_in
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import Style, page, printable, write
from crashenv._reading import crashes, own, tracebacks
from crashenv._reading.encode import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Optional

    from crashenv._cli.options import Values
    from crashenv._reading.crashes import Row

NOT_FOUND = 1
UNREADABLE = 2
_LONGEST_ID = 16
_MOST_TOLD = 4

_COMMAND = Command(
    "show",
    "[OPTION...] [ID] [FILE...]",
    """\
Show a crash from the store, or from FILE: the newest, or the one whose id begins
with ID.

The exception and its place come first, then the traceback. Control characters are
shown as \\x1b. On a terminal the output has colours, unless NO_COLOR is set, and is
shown by a pager: $PAGER, or less.
""",
    (
        STORE,
        Option("--json", "", "print the record as one line of JSON"),
        Option("--raw", "", "print only the text of the report, unchanged"),
        Option("--no-pager", "", "do not use a pager"),
        TRACEBACKS,
        OWN,
    ),
    """\
exit status:
  0  it was shown
  1  there is no such crash, or several ids begin with ID
  2  something cannot be read, or the options are wrong

examples:
  crashenv show
  crashenv show 2f6c
  crashenv show --json | jq '.exception.frames[-1]'
""",
    most=1 << 20,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _show)


def _show(values: "Values") -> int:
    if values["json"] and values["raw"]:
        raise UsageError("--json and --raw cannot be combined")
    own.prefer(values["own"] or ())
    problems = crashes.Problems("show")
    prefix, files = _split_operands(values.operands)
    is_name = files and not {"/", os.sep, "."} & {*files[0]}
    if is_name and not os.path.lexists(files[0]):
        message = "crashenv show: %s: No such file, and not the beginning of an id, which has"
        sys.stderr.write(
            message % printable(files[0]) + " digits 0-9 and a-f: see 'crashenv list'\n"
        )
        return UNREADABLE
    rows = crashes.rows(files, values["store"], problems, bool(values["tracebacks"]))
    if files:
        rows = in_order(rows)
    add_seen(rows)
    found = _find(rows, prefix)
    if found is None:
        problems.tell()
        what = _why_not(rows, prefix) if rows else nothing_in(values)
        sys.stderr.write("crashenv show: %s\n" % what)
        return UNREADABLE if problems.unreadable else NOT_FOUND
    row, record = found
    if values["json"]:
        write(to_json(record) + "\n")
    elif values["raw"]:
        _write_raw(record["text"])
    else:
        text = _rendered(record, row, _first_seen(rows, row))
        write(text) if values["no_pager"] else page(text)
    problems.tell()
    return UNREADABLE if problems.unreadable else 0


def _split_operands(operands: "Sequence[str]") -> "tuple[str, Sequence[str]]":
    """Return the beginning of an id, if the first operand may be one and no file, and the files."""
    first = operands[0].lower() if operands else ""
    is_id = len(first) <= _LONGEST_ID and not set(first) - set("0123456789abcdef")
    if first and is_id and not os.path.exists(operands[0]):
        return first, operands[1:]
    return "", operands


def _find(rows: "Sequence[Row]", prefix: str) -> "Optional[tuple[Row, Any]]":
    """Return the newest crash whose id begins with ``prefix``, if only one id does."""
    candidates = [row for row in rows if row["id"].startswith(prefix)]
    if prefix and len({row["id"] for row in candidates}) > 1:
        return None
    for row in reversed(candidates):
        record = crashes.whole(row)
        if record is not None:
            return row, record
    return None


def _why_not(rows: "Sequence[Row]", prefix: str) -> str:
    ids = sorted({row["id"] for row in rows if row["id"].startswith(prefix)})
    if not ids:
        return "no id begins with %s" % prefix
    more = ", ..." if len(ids) > _MOST_TOLD else ""
    text = ", ".join([printable(one) for one in ids[:_MOST_TOLD]])
    return "several ids begin with %s: %s%s" % (prefix, text, more)


def _first_seen(rows: "Sequence[Row]", row: "Row") -> "Optional[str]":
    for other in rows:
        if other["fingerprint"] == row["fingerprint"] and other["time"]:
            time: str = other["time"]
            return time
    return None


def _write_raw(text: str) -> None:
    """Write the bytes unchanged, but no control characters to a terminal."""
    if sys.stdout.isatty():
        write("".join(printable(line) + "\n" for line in text.split("\n")[:-1]))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))


# --- as text


def _rendered(record: "Any", row: "Row", first_seen: "Optional[str]") -> str:
    style = Style(sys.stdout)
    try:
        return "".join(_lines(record, row, first_seen, style))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # This record was written by another program, but its text can be read.
        lines = str(record.get("text")).split("\n")
        head = "%s\n\n  This record has values of a wrong type. Its text is:\n\n"
        return head % printable(row["summary"]) + "".join(printable(x) + "\n" for x in lines)


def _lines(record: "Any", row: "Row", first_seen: "Optional[str]", style: Style) -> "Iterator[str]":
    yield style.error(printable(record["summary"])) + "\n"
    if record["where"]:
        yield "    " + style.strong(printable(record["where"])) + "\n"
        source = _source(record)
        if source:
            yield "        " + printable(source) + "\n"
    yield "\n"
    for name, value in _facts(record, row, first_seen):
        if value:
            yield "%s %s\n" % (style.weak("%12s:" % name), printable(value))
    yield "\n"
    yield from _text(_rest_of_death(record), record, style)
    if record.get("last_words"):
        yield "\n" + style.weak("Last words:") + "\n"
        words = record["last_words"].rstrip("\n").split("\n")
        yield from (printable(line) + "\n" for line in words)
    if record.get("stderr"):
        yield "\n" + style.weak("End of standard error:") + "\n"
        yield from (printable(line) + "\n" for line in record["stderr"].rstrip("\n").split("\n"))


def _rest_of_death(record: "Any") -> str:
    """Return the text; of a death, without the lines that were printed above it."""
    text: str = record["text"]
    if record["kind"] != "death" or not record.get("ending"):
        return text
    lines = text.split("\n")
    numbers = ("Run time ", "Process ")
    del lines[: 2 if len(lines) > 1 and lines[1].startswith(numbers) else 1]
    return "\n".join(lines)


def _source(record: "Any") -> str:
    """Return the source line that ``where`` names."""
    exception = record.get("exception") or {}
    for frame in reversed(exception.get("frames") or []):
        place = "%s:%s in %s" % (tracebacks.base(frame["file"]), frame["line"], frame["function"])
        if place == record["where"]:
            return (frame["source"] or "").partition("\n")[0]
    return ""


def facts_of_program(record: "Any") -> "Iterator[tuple[str, str]]":
    yield "Program", record["program"] or ""
    yield "Command", " ".join(record.get("command") or [])
    parent = " (child of %s)" % record["parent"] if record.get("parent") else ""
    yield "Process", "" if record["pid"] is None else str(record["pid"]) + parent
    yield "Worker", record.get("process") or ""
    yield "Thread", "" if record.get("process") else record["thread"] or ""
    yield "Tags", ", ".join("%s=%s" % item for item in (record.get("tags") or {}).items())
    yield "Release", record.get("release") or ""
    yield "Environment", record.get("environment") or ""
    yield "Python", record["python"] or ""


def _facts(record: "Any", row: "Row", first_seen: "Optional[str]") -> "Iterator[tuple[str, str]]":
    ago = times.ago(record["time"])
    if record["time"]:
        yield "Time", times.local(record["time"]) + (" (%s)" % ago if ago else "")
    yield from facts_of_program(record)
    if row["seen"] > 1:
        yield "Seen", "%d times, first %s" % (row["seen"], times.local(first_seen))
    yield "Ending", ending(record.get("ending") or {})
    yield "Damage", record["damage"] or ""
    yield "Left out", "%d bytes" % record["omitted"] if record["omitted"] else ""
    yield "ID", printable(record["id"])


def ending(ending: "dict[str, Any]") -> str:
    """Say how the program ended, as far as a monitor knows."""
    text = []
    if ending.get("signal"):
        text.append("killed by %s" % ending["signal"])
    elif ending.get("status") is not None:
        text.append("status %s" % ending["status"])
    if ending.get("core"):
        text.append("core dumped")
    if ending.get("oom_kills"):
        text.append("processes killed for lack of memory: %s" % ending["oom_kills"])
    for key, what in (("run_time", "ran"), ("user_time", "user"), ("system_time", "system")):
        if isinstance(ending.get(key), (int, float)):
            text.append("%s %.2f s" % (what, ending[key]))
    if isinstance(ending.get("peak_memory"), (int, float)):
        text.append("peak memory %.1f MiB" % (ending["peak_memory"] / (1 << 20)))
    return ", ".join(text)


def _text(text: str, record: "Any", style: Style) -> "Iterator[str]":
    """Yield the report: frames of the program in bold, the exception in red."""
    title = record["summary"].removesuffix("...").partition(" sub-exception")[0]
    frames = (record.get("exception") or {}).get("frames") or []
    files = {known.frame["file"] for known in own.own(frames)}
    is_own = False
    for line in text.removesuffix("\n").split("\n"):
        shown = printable(line)
        stripped = line.lstrip(" |")
        if stripped.startswith('File "'):
            file = stripped[len('File "') :].partition('"')[0]
            is_own = file in files or own.is_own(file)
            yield (style.strong(shown) if is_own else style.weak(shown)) + "\n"
        elif line.startswith("    ") and not is_own:
            yield style.weak(shown) + "\n"
        elif title and stripped.startswith(title):
            yield style.error(shown) + "\n"
        else:
            yield shown + "\n"
