"""``crashenv parse``: turn a stream into lines of JSON."""

import gc
import os
import sys

from crashenv._cli.list import OWN, TRACEBACKS
from crashenv._cli.options import Command, Option
from crashenv._cli.terminal import Progress, printable, sizes
from crashenv._reading import files, own
from crashenv._reading.build import record
from crashenv._reading.encode import to_json
from crashenv._reading.logs import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crashenv._cli.options import Values
    from crashenv._reading.frames import Frame

_UNREADABLE = 2

_COMMAND = Command(
    "parse",
    "[OPTION...] [FILE]",
    """\
Print each crash report in FILE, or in standard input, as one line of JSON.

FILE is the output of crashfd or crashfile, or a log with reports among other lines.
Reports that are cut off or damaged are printed as far as possible. Other bytes are
skipped and counted on standard error. The prefix that journald, Docker, Kubernetes,
GitHub Actions and others put before each line of a log is removed.
""",
    (
        Option("-f, --follow", "", "continue as FILE grows or is rotated, as tail -F does"),
        Option("-q, --quiet", "", "do not say how much was skipped"),
        TRACEBACKS,
        OWN,
    ),
    """\
exit status:
  0  FILE was read to its end
  2  FILE cannot be read, or the options are wrong

examples:
  crashenv parse crash.log | jq -r '.time + " " + .summary'
  journalctl -u myapp | crashenv parse --tracebacks | jq -r .summary
  crashenv parse --follow /var/log/app/crash.log | while read -r line; do ...; done
""",
    most=1,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _parse)


def _parse(values: "Values") -> int:
    gc.disable()  # which takes 2 % of the time, and finds nothing: no record has a cycle
    path = values.operands[0] if values.operands else files.STANDARD_INPUT
    own.prefer(values["own"] or ())
    log = Log(bool(values["tracebacks"]))
    # Records on the same terminal show the progress already.
    progress = Progress("crashenv parse", values["quiet"] or sys.stdout.isatty())
    progress.begin("reading", sizes([path]), "bytes")
    try:
        for frames in _frames(path, log, values["follow"], progress):
            _print(frames)
        progress.end()
    except OSError as error:
        progress.end()
        sys.stderr.write("crashenv parse: %s: %s\n" % (printable(path), error.strerror))
        return _UNREADABLE
    if log.skipped and not values["quiet"]:
        text = "%d bytes that are not reports" % log.skipped
        sys.stderr.write("crashenv parse: %s: skipped %s\n" % (printable(path), text))
    return 0


def _frames(path: str, log: Log, follow: bool, progress: Progress) -> "Iterator[list[Frame]]":
    if follow:
        for data in files.Followed(path).chunks():
            if data is None:
                yield log.close()
            else:
                yield log.feed(data) if data else log.flush()
    else:
        for data in files.chunks(files.open_file(path)):
            progress.add(len(data))
            yield log.feed(data)
        yield log.close()


def _print(frames: "list[Frame]") -> None:
    """Write past the buffer of sys.stdout, so that a reader gets each record at once."""
    lines = "".join([to_json(record(frame)) + "\n" for frame in frames]).encode("ascii")
    while lines:
        lines = lines[os.write(sys.stdout.fileno(), lines) :]
