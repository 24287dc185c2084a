"""A whole record as markup: the output of ``crashenv show``, and parts that fold."""

from crashenv._cli import times
from crashenv._cli.page.text import escape
from crashenv._cli.show import ending, facts_of_program
from crashenv._reading import own, tracebacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from crashenv._cli.page.text import Writer

_LONGEST_TEXT = 12000  # characters
_MOST_FRAMES = 200  # of one exception or thread
_MOST_DEEP = 20  # levels of nested exceptions
_MOST_IN_GROUP = 50
_MOST_THREADS = 50
_MOST_C_FRAMES = 100
# The texts between two exceptions, like those of traceback.
_CAUSE = "This was the direct cause of the next exception"
_CONTEXT = "While this was handled, the next exception happened"
_WRONG = (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError)


def shown(record: "Any", writer: "Writer") -> str:
    """Return the markup. If a record has values of a wrong type, show only its text."""
    try:
        return "".join(_parts(record, writer))
    except _WRONG:
        return "<p>This record has values of a wrong type. Its text is:</p>" + _pre(
            record.get("text"), writer
        )


def _parts(record: "Any", writer: "Writer") -> "Iterator[str]":
    yield "<dl class=facts>"
    for name, value in _facts(record):
        if value:
            yield "<div><dt>%s</dt><dd>%s</dd></div>" % (name, writer.inline(value))
    yield "</dl>"
    if record.get("exception"):
        yield from _section("Traceback", _chain(record["exception"], writer))
    if record.get("dump"):
        yield from _dump(record["dump"], writer)
    if record.get("threads"):
        yield from _threads("Other threads", record["threads"], writer)
    if record.get("last_words"):
        yield from _section("Last words", [_pre(record["last_words"], writer, keep_end=True)])
    if record.get("stderr"):
        yield from _section("End of standard error", [_pre(record["stderr"], writer, True)])
    yield _folded("The report's text", _pre(record["text"], writer))


def _section(title: str, parts: "Any") -> "Iterator[str]":
    yield "<section><h3>%s</h3>" % title
    yield from parts
    yield "</section>"


def _folded(title: str, body: str) -> str:
    """``title`` is markup already."""
    return "<details class=fold><summary>%s</summary>%s</details>" % (title, body)


def _pre(text: object, writer: "Writer", keep_end: bool = False) -> str:
    message = writer.plain(text, 1 << 20)  # before it is cut: half a secret would not be found
    if keep_end and len(message) > _LONGEST_TEXT:
        message = "… (%d characters before)\n%s" % (
            len(message) - _LONGEST_TEXT,
            message[-_LONGEST_TEXT:],
        )
    return '<pre tabindex="0">%s</pre>' % writer.block(message, _LONGEST_TEXT + 100)


def _facts(record: "Any") -> "Iterator[tuple[str, str]]":
    yield "Time", times.local(record["time"]) if record["time"] else ""
    yield from facts_of_program(record)
    yield "Ending", ending(record.get("ending") or {})
    yield "Damage", record["damage"] or ""
    yield "Left out", "%d bytes" % record["omitted"] if record["omitted"] else ""
    yield "Lost before", "%d reports" % record["lost"] if record.get("lost") else ""
    yield "ID", record["id"]


# --- exceptions


def _chain(exception: "Any", writer: "Writer", deep: int = 0) -> "Iterator[str]":
    """Yield the first cause first, as in a traceback."""
    links = [(exception, "")]
    while len(links) <= _MOST_DEEP:
        one = links[-1][0]
        if one.get("cause"):
            links.append((one["cause"], _CAUSE))
        elif one.get("context"):
            links.append((one["context"], _CONTEXT))
        else:
            break
    else:
        links.pop()
        yield "<p class=between>Earlier exceptions are in the report's text.</p>"
    for one, between in reversed(links):
        yield from _exception(one, writer, deep)
        if between:
            yield "<p class=between>%s:</p>" % between


def _exception(exception: "Any", writer: "Writer", deep: int) -> "Iterator[str]":
    yield "<div class=exception>"
    yield from _frames(exception["frames"], writer, _own_files(exception["frames"]))
    if exception.get("syntax"):
        syntax = exception["syntax"]
        frame = {**syntax, "function": "", "source": syntax["text"], "repeated": 0}
        yield "<ol class=frames>%s</ol>" % _frame(frame, writer, True)
    if exception.get("omitted"):
        yield "<p class=between>%d exceptions are left out.</p>" % int(exception["omitted"])
    yield "<p class=raised><b>%s</b><span class=message>%s</span></p>" % (
        writer.inline(exception["type"] or ""),
        ": " * bool(exception["type"] and exception["message"])
        + writer.block(exception["message"], _LONGEST_TEXT),
    )
    for note in exception["notes"]:
        yield "<p class=note>%s</p>" % writer.block(note, _LONGEST_TEXT)
    group = exception["exceptions"]
    if group and deep >= _MOST_DEEP:
        yield "<p class=between>%d exceptions in it are in the report's text.</p>" % len(group)
    elif group:
        yield "<ol class=group>"
        for one in group[:_MOST_IN_GROUP]:
            yield "<li>"
            yield from _chain(one, writer, deep + 1)
            yield "</li>"
        yield "</ol>"
        if len(group) > _MOST_IN_GROUP:
            yield "<p class=between>and %d more.</p>" % (len(group) - _MOST_IN_GROUP)
    yield "</div>"


def _own_files(frames: "Any") -> "set[str]":
    return {known.frame["file"] for known in own.own(frames)}


def _frames(frames: "Any", writer: "Writer", own_files: "set[str]") -> "Iterator[str]":
    """Yield the frames; consecutive frames of libraries fold into one line."""
    half = _MOST_FRAMES // 2
    left_out = max(0, len(frames) - _MOST_FRAMES)
    parts = [frames[:half], frames[half + left_out :]] if left_out else [frames]
    for index, part in enumerate(parts):
        if index:
            yield "<p class=between>%d frames are left out.</p>" % left_out
        yield from _folded_runs(part, writer, lambda frame: frame["file"] in own_files)


def _folded_runs(
    frames: "Any", writer: "Writer", is_own: "Callable[[Any], bool]"
) -> "Iterator[str]":
    run: list[Any] = []
    opened = False
    for frame in [*frames, None]:
        if frame is not None and not is_own(frame):
            run.append(frame)
            continue
        if run:
            yield "</ol>" * opened
            opened = False
            yield _library_frames(run, writer)
            run = []
        if frame is not None:
            yield "<ol class=frames>" * (not opened)
            opened = True
            yield _frame(frame, writer, True)
    yield "</ol>" * opened


def _library_frames(frames: "Any", writer: "Writer") -> str:
    names = list(dict.fromkeys(tracebacks.base(frame["file"]) for frame in frames))
    text = "%d frame%s of libraries: %s" % (
        len(frames),
        "s" * (len(frames) > 1),
        writer.inline(", ".join(names[:4]) + ", …" * (len(names) > 4)),
    )
    body = "".join([_frame(frame, writer, False) for frame in frames])
    return _folded(text, "<ol class=frames>%s</ol>" % body)


def _frame(frame: "Any", writer: "Writer", is_own: bool) -> str:
    line = "" if frame["line"] is None else ":%s" % frame["line"]
    function = " in <b>%s</b>" % writer.inline(frame["function"]) if frame["function"] else ""
    text = "<li class=%s><span class=place>%s%s</span>%s" % (
        "own" if is_own else "library",
        writer.inline(frame["file"]),
        writer.inline(line),
        function,
    )
    if frame.get("source"):
        text += "<pre>%s</pre>" % _source(frame["source"], frame["columns"], writer)
    if frame.get("repeated"):
        text += "<p class=between>and %d times more</p>" % int(frame["repeated"])
    return text + "</li>"


def _source(source: str, columns: "Any", writer: "Writer") -> str:
    """Return the line with the interpreter's marks, unless a secret was removed from it."""
    text = writer.plain(source, 2000)
    if not columns or text != source:
        return "\n".join([escape(line) for line in text.split("\n")])
    lines = text.split("\n")
    begin, end = int(columns[0]), int(columns[1])
    message = []
    for number, line in enumerate(lines):
        first = begin if number == 0 else len(line) - len(line.lstrip())
        last = end if number == len(lines) - 1 else len(line)
        if not 0 <= first < last:
            message.append(escape(line))
            continue
        parts = (escape(line[:first]), escape(line[first:last]), escape(line[last:]))
        message.append("%s<mark>%s</mark>%s" % parts)
    return "\n".join(message)


# --- native dumps


def _dump(dump: "Any", writer: "Writer") -> "Iterator[str]":
    if dump.get("reason"):
        yield "<p class=raised><b>%s</b> %s</p>" % (
            writer.inline(dump.get("signal") or ""),
            writer.inline(dump["reason"]),
        )
    yield from _threads("Threads", dump["threads"], writer)
    if dump["c_stack"]:
        rows = []
        for frame in dump["c_stack"][:_MOST_C_FRAMES]:
            symbol = frame["symbol"] or ""
            rows.append(
                "<li class=library><b>%s</b> <span class=place>%s%s</span></li>"
                % (
                    writer.inline(symbol),
                    writer.inline(frame["file"]),
                    writer.inline("+" + frame["offset"] if frame["offset"] else ""),
                )
            )
        yield from _section("C stack", ["<ol class=frames>", *rows, "</ol>"])
    if dump["extension_modules"]:
        names = ", ".join(map(str, dump["extension_modules"]))
        yield _folded("Extension modules", "<p>%s</p>" % writer.inline(names))


def _threads(title: str, threads: "Any", writer: "Writer") -> "Iterator[str]":
    """Yield the threads, the current one open, the most recent call first."""
    if not threads:
        return
    yield "<section><h3>%s</h3>" % title
    for thread in threads[:_MOST_THREADS]:
        name = " ".join(filter(None, [thread["name"], thread["id"]])) or "thread"
        text = writer.inline(name) + ", the current thread" * bool(thread["current"])
        frames = thread["frames"]
        yield "<details class=fold%s><summary>%s (%d frames)</summary>" % (
            " open" if thread["current"] else "",
            text,
            len(frames),
        )
        yield from _frames(frames, writer, _own_files(frames[::-1]))
        yield "</details>"
    if len(threads) > _MOST_THREADS:
        yield "<p class=between>and %d threads more.</p>" % (len(threads) - _MOST_THREADS)
    yield "</section>"
