"""``--summary``: Markdown for a job summary.

GitHub shows what is appended to ``$GITHUB_STEP_SUMMARY``, at most 1 MiB for
each step; GitLab shows the same in a comment. No text of a crash becomes markup.
"""

from crashenv._monitor import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from crashenv._monitor.receivers import WaitUntil
    from crashenv.records import Record

_MOST_KINDS = 30
_LONGEST_TEXT = 8000  # characters
_MOST_BYTES = 900_000
# All characters with a meaning in CommonMark and GitHub's additions, also "." and ":" of addresses.
_MARKUP = frozenset("\\`*_{}[]()<>#+-.!|~@&:$\"'=^")


class Summary:
    """Appends to ``path`` when the program has ended, if there was a crash.

    Text that matches one of ``redacted`` is removed, like secrets.
    """

    def __init__(self, path: str, redacted: "Sequence[re.Pattern[str]]" = ()) -> None:
        self._path = path
        self._redacted = redacted
        self._count = 0
        # By fingerprint: the newest record, the end of its text, and how many there were.
        self._kinds: dict[str, tuple[Record, int]] = {}
        self._left_out = 0
        self.deadline: float | None = None

    def take(self, record: "Record", content: bytes, path: str) -> None:
        self._count += 1
        kind = record["fingerprint"]
        _, seen = self._kinds.get(kind, (record, 0))
        if not seen and len(self._kinds) >= _MOST_KINDS:
            self._left_out += 1
            return
        keys = ("summary", "where", "program", "id")
        kept: Record = {key: record[key] for key in keys}  # type: ignore[literal-required, assignment]
        from crashenv._redact import redact

        # Before it is cut: half a secret would not be found.
        text = redact(record["text"], self._redacted)[0]
        if len(text) > _LONGEST_TEXT:  # the end names the exception
            text = "...\n" + text[-_LONGEST_TEXT:]
        kept["text"] = text
        self._kinds[kind] = kept, seen + 1

    def work(self) -> None:
        pass

    def child_ended(self, pid: int, status: int) -> None:
        pass

    def finish(self, wait_until: "WaitUntil") -> None:
        if self._count:
            files.append(self._path, self._text())

    def _text(self) -> str:
        from crashenv._redact import redact

        crashes = "1 crash" if self._count == 1 else "%d crashes" % self._count
        parts = ["\n### %s\n\n" % crashes, "| Times | What | Where | Program |\n"]
        parts.append("| ---: | --- | --- | --- |\n")
        folded = []
        for record, seen in self._kinds.values():
            what = _escaped(redact(record["summary"], self._redacted)[0])
            program = (record["program"] or "").replace("\\", "/").rpartition("/")[2]
            cells = (
                seen,
                what,
                _escaped(record["where"] or ""),
                _escaped(redact(program, self._redacted)[0]),
            )
            parts.append("| %d | %s | %s | %s |\n" % cells)
            folded.append(_folded(what, record["text"]))
        if self._left_out:
            parts.append("\n%d crashes of other kinds are left out.\n" % self._left_out)
        size = sum(len(part.encode("utf-8", "backslashreplace")) for part in parts)
        for part in folded:
            size += len(part.encode("utf-8", "backslashreplace"))
            if size < _MOST_BYTES:
                parts.append(part)
        return "".join(parts)


def _folded(title: str, text: str) -> str:
    """Fold the text. ``<pre>`` begins a block that only ``</pre>`` ends (CommonMark 0.31, 4.6)."""
    lines = [_printable(line) for line in text.rstrip("\n").split("\n")]
    message = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shape = "\n<details><summary>%s</summary>\n\n<pre>\n%s\n</pre>\n\n</details>\n"
    return shape % (title, message)


def _escaped(text: str) -> str:
    """Return one line with markup as character references, which are text everywhere."""
    return "".join("&#%d;" % ord(c) if c in _MARKUP else c for c in _printable(text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
