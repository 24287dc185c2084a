"""``--junit``: one test case for each crash, so that crashes appear where failed tests do.

The format is that of Ant's JUnit task, limited to the common subset of the schemas in use,
so that Jenkins, GitLab and GitHub actions can read it.
"""

from time import gmtime, monotonic, strftime, time

from crashenv._monitor import files
from crashenv._seldom.crashfile import host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from crashenv._monitor.receivers import WaitUntil
    from crashenv.records import Record

_MOST_CASES = 10_000
_MOST_BYTES = 4 << 20  # of texts
_LONGEST_TEXT = 1 << 16  # characters
_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
<testsuite id="0" package="crashenv" name="crashenv" tests="%d" failures="0" errors="%d" \
time="%.3f" timestamp="%s" hostname="%s">
<properties/>
"""
_END = """\
<system-out/>
<system-err>%s</system-err>
</testsuite>
</testsuites>
"""
_CASE = """\
<testcase classname="%s" name="%s" time="0"><error type="%s" message="%s">%s</error></testcase>
"""


class JUnit:
    """Writes ``path`` when the program has ended, even without a crash.

    Text that matches one of ``redacted`` is removed, like secrets.
    """

    def __init__(self, path: str, redacted: "Sequence[re.Pattern[str]]" = ()) -> None:
        self._path = path
        self._redacted = redacted
        self._began = monotonic()
        self._started = time()
        self._cases: list[tuple[Record, str]] = []
        self._bytes = 0
        self._left_out = 0
        self.deadline: float | None = None

    def take(self, record: "Record", content: bytes, path: str) -> None:
        if len(self._cases) >= _MOST_CASES:
            self._left_out += 1
            return
        text = record["text"][:_LONGEST_TEXT]
        if self._bytes > _MOST_BYTES:
            text = ""
        self._bytes += len(text)
        kept: Record = {key: record[key] for key in _KEPT}  # type: ignore[literal-required, assignment]
        self._cases.append((kept, text))

    def work(self) -> None:
        pass

    def child_ended(self, pid: int, status: int) -> None:
        pass

    def finish(self, wait_until: "WaitUntil") -> None:
        from crashenv._redact import redact

        def escaped(text: str) -> str:
            return _escaped(redact(text, self._redacted)[0])

        count = len(self._cases)
        seconds = monotonic() - self._began
        begin = strftime("%Y-%m-%dT%H:%M:%S", gmtime(self._started))
        parts = [_HEAD % (count, count, seconds, begin, _escaped(host_name()))]
        for record, text in self._cases:
            where = " (%s)" % record["where"] if record["where"] else ""
            parts.append(
                _CASE
                % (
                    escaped(record["program"] or "crashenv"),
                    escaped("%s%s, %s" % (record["summary"], where, record["id"][:8])),
                    escaped(_type(record)),
                    escaped(record["summary"]),
                    escaped(text),
                )
            )
        more = "%d more crashes are left out" % self._left_out if self._left_out else ""
        files.replace(self._path, "".join([*parts, _END % more]))


_KEPT = ("program", "summary", "where", "id", "kind", "exception")


def _type(record: "Record") -> str:
    exception = record["exception"]
    return (exception and exception["type"]) or record["kind"]


def _escaped(text: str) -> str:
    """Escape the text: XML 1.0 cannot represent most control characters, nor surrogates."""
    lines = text.split("\n")
    if not all(line.isprintable() for line in lines):
        lines = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in x) for x in lines]
    message = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return message.replace('"', "&quot;")
