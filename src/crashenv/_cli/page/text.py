"""What a record says -> markup: the only place where a record's text becomes HTML.

Each character that could be markup, steer a terminal or turn the direction of writing
is escaped, and secrets are taken out before.
"""

from crashenv._redact import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_TABLE = str.maketrans(_ESCAPES)


class Writer:
    """``extra`` is replaced too, unless nothing is to be; ``replaced`` counts."""

    def __init__(self, extra: "Sequence[re.Pattern[str]] | None") -> None:
        self._extra = extra
        self.redacts = extra is not None
        self.replaced = 0

    def plain(self, value: object, longest: int = 1 << 16) -> str:
        """Without secrets; what is longer is cut, and says so."""
        text = value if isinstance(value, str) else str(value)
        if self._extra is not None:
            text, count = redact(text[: 2 * longest], self._extra)
            self.replaced += count
        if len(text) > longest:
            text = "%s… (%d characters more)" % (text[:longest], len(text) - longest)
        return text

    def inline(self, value: object, longest: int = 2000) -> str:
        """On one line, also in an attribute's quotation marks."""
        return escape(self.plain(value, longest))

    def block(self, value: object, longest: int = 1 << 16) -> str:
        """Of several lines, for ``<pre>``."""
        lines = self.plain(value, longest).rstrip("\n").split("\n")
        return "\n".join([escape(line) for line in lines])


def escape(text: str) -> str:
    """One line of text as markup."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)
    return text.translate(_TABLE)
