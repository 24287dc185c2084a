"""``crashenv html``: write all crashes as one self-contained page."""

import os
import sys

from crashenv._cli.list import (
    NOTHING,
    OWN,
    SINCE,
    STORE,
    TRACEBACKS,
    UNREADABLE,
    in_order,
    is_meant,
    nothing_in,
)
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.sinks import REDACT
from crashenv._cli.terminal import Progress, printable, sizes
from crashenv._reading import crashes, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values

_NAME = "crashes.html"
_STANDARD_OUTPUT = "-"


NO_REDACT = Option("--no-redact", "", "do not remove anything")
_COMMAND = Command(
    "html",
    "[OPTION...] [FILE...]",
    """\
Write the crashes in the store, or in each FILE, as one HTML page.

The page is a single file that loads nothing: send it by mail, keep it with a build,
or put it on any web server. It shows each kind of crash, how often and when it
happened, and its newest record. Tokens, passwords and keys are removed if they look
like secrets; read the page before you pass it on.
""",
    (
        Option("-o, --output", "FILE", "write FILE (default: %s); - is standard output" % _NAME),
        STORE,
        SINCE,
        TRACEBACKS,
        OWN,
        REDACT,
        NO_REDACT,
        Option("-q, --quiet", "", "do not show the progress and the result"),
    ),
    """\
exit status:
  0  the page was written
  1  there were no crashes; the page says so
  2  something cannot be read or written, or the options are wrong

examples:
  crashenv html
  crashenv html --since 7d -o week.html /var/log/app/crash.log
""",
    most=1 << 20,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _html)


def _html(values: "Values") -> int:
    if values["redact"] and values["no_redact"]:
        raise UsageError("--redact and --no-redact cannot be combined")
    from crashenv._cli.page import kinds, page
    from crashenv._cli.page.text import Writer

    problems = crashes.Problems("html")
    own.prefer(values["own"] or ())
    progress = Progress("crashenv html", bool(values["quiet"]))
    progress.begin("reading", sizes(values.operands), "bytes" if values.operands else "records")
    tracebacks = bool(values["tracebacks"])
    rows = crashes.rows(values.operands, values["store"], problems, tracebacks, progress.add)
    rows = in_order(rows) if values.operands else rows
    rows = [row for row in rows if is_meant(row, values)]
    progress.begin("reading", len(rows), "crashes")
    found = kinds.of(rows, progress.at)
    progress.begin("writing", len(found), "kinds")
    writer = Writer(None if values["no_redact"] else values["redact"] or ())
    text = page.made(found, writer, progress.at)
    progress.end()
    path = values["output"] or _NAME
    try:
        _write(path, text)
    except OSError as error:
        sys.stderr.write("crashenv html: %s: %s\n" % (printable(path), error.strerror or error))
        return UNREADABLE
    problems.tell()
    if not rows:
        sys.stderr.write("crashenv html: %s\n" % nothing_in(values))
    elif not values["quiet"] and path != _STANDARD_OUTPUT:
        counts = page.plural(len(rows), "crash", "crashes"), page.plural(len(found), "kind")
        sys.stderr.write("crashenv html: %s of %s in %s\n" % (*counts, printable(path)))
    return UNREADABLE if problems.unreadable else 0 if rows else NOTHING


def _write(path: str, text: str) -> None:
    """Write the file in one step; only its owner can read it, as the records. Raise OSError."""
    content = text.encode()
    if path == _STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    if os.path.lexists(path) and not os.path.isfile(path):  # a device, or a FIFO
        with open(path, "wb") as file:
            file.write(content)
        return
    path = os.path.realpath(path)
    unfinished = "%s.%s.unfinished" % (path, os.urandom(4).hex())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    fd = os.open(unfinished, flags, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
