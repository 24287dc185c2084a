"""The only place where a record's text becomes HTML.

Secrets are removed, and each character is escaped that could be markup, control a
terminal or change the direction of writing.
"""

from crashenv._redact import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_TABLE = str.maketrans(_ESCAPES)


class Writer:
    """Redacts also ``extra``; nothing, if that is None. ``replaced`` counts the secrets."""

    def __init__(self, extra: "Sequence[re.Pattern[str]] | None") -> None:
        self._extra = extra
        self.redacts = extra is not None
        self.replaced = 0

    def plain(self, value: object, longest: int = 1 << 16) -> str:
        """Remove secrets, and cut a longer text, with a note."""
        text = value if isinstance(value, str) else str(value)
        if self._extra is not None:
            text, count = redact(text[: 2 * longest], self._extra)
            self.replaced += count
        if len(text) > longest:
            text = "%s… (%d characters more)" % (text[:longest], len(text) - longest)
        return text

    def inline(self, value: object, longest: int = 2000) -> str:
        """Return a text on one line, also for the value of an attribute."""
        return escape(self.plain(value, longest))

    def block(self, value: object, longest: int = 1 << 16) -> str:
        """Return a text of several lines, for ``<pre>``."""
        lines = self.plain(value, longest).rstrip("\n").split("\n")
        return "\n".join([escape(line) for line in lines])


def escape(text: str) -> str:
    """Return one line of text as markup."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)
    return text.translate(_TABLE)
