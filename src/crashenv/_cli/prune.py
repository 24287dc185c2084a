"""``crashenv prune``: remove records that are old, or exceed a number or a size."""

import os
import sys

from crashenv import _store
from crashenv._cli import times
from crashenv._cli.list import STORE
from crashenv._cli.options import Command, Option, UsageError, count, size
from crashenv._cli.terminal import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values


def _time(text: str) -> int:
    try:
        return times.parse(text)
    except (ValueError, OverflowError):
        raise UsageError(
            "--before: %r is not a time such as 7d, today, 2026-11-22" % text
        ) from None


_COMMAND = Command(
    "prune",
    "[OPTION...]",
    """\
Remove records from the store: those from before a time, and the oldest if they
exceed a number or a total size. Other files in the folder are not touched.
""",
    (
        STORE,
        Option("--before", "TIME", 'remove crashes before TIME: "7d", "2026-11-22"', _time),
        Option("--max-records", "N", "keep the newest N records", count),
        Option("--max-size", "SIZE", "keep at most SIZE bytes of records, with K, M or G", size),
        Option("-n, --dry-run", "", "only say how many --before would remove"),
    ),
    """\
exit status:
  0  done, even if there was nothing to remove
  2  the store cannot be read, or the options are wrong

example:
  crashenv prune --before 30d --max-size 10M
""",
    most=0,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _prune)


def _prune(values: "Values") -> int:
    folder = values["store"] or _store.default_folder()
    before, records, most = values["before"], values["max_records"], values["max_size"]
    if before is None and records is None and most is None:
        raise UsageError("needs --before, --max-records or --max-size")
    try:
        old = _older(folder, before) if before is not None else []
        removed = len(old)
        if not values["dry_run"]:
            for path in old:
                os.unlink(path)
            if records or most:
                everything = 1 << 62
                removed += _store.Store(folder, records or everything, most or everything).prune()
    except OSError as error:
        sys.stderr.write("crashenv prune: %s: %s\n" % (printable(folder), error.strerror))
        return 2
    counted = "1 record" if removed == 1 else "%d records" % removed
    print("%s %s" % ("would remove" if values["dry_run"] else "removed", counted))
    return 0


def _older(folder: str, before: int) -> "list[str]":
    """Return the records stored before the time, by their names. Raise OSError."""
    found = []
    for path in _store.files(folder):
        stamp = os.path.basename(path)
        day, clock = stamp[:8], stamp[9:15]
        iso = "%s-%s-%sT%s:%s:%sZ" % (day[:4], day[4:6], day[6:], clock[:2], clock[2:4], clock[4:])
        kept = times.seconds(iso)
        if kept is not None and kept < before:
            found.append(path)
    return found
