"""Remove secrets from a text before it leaves the machine.

These are recognised: Authorization headers, tokens of well-known services,
passwords in URLs and after ``=`` or ``:``, private keys. A secret that looks like
any other word is not found.
"""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

REDACTED = "[redacted]"

_NAMES = (
    r"[\w.-]{0,40}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|credentials?|cookie|session[_-]?id)[\w-]{0,40}"
)
# The first group of each is the text before the secret, which is kept.
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----).*?(?=-----END|\Z)",
        r"(\bAuthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:[A-Za-z]{2,20}\s{1,4})?)[^\s\"',]+",
        r"(\b(?:Bearer|Basic)\s{1,4})[\w+/=.~-]{8,}",
        r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}:)[^\s/@]+(?=@)",
        r"(\b(?:[a-z][a-z0-9+.-]{0,30}\+)?https?://)[\w.~%-]{16,}(?=@)",
        r"(\b%s[\"']?\s{0,4}[:=]\s{0,4}b?)(?:\"(?:[^\"\\\n]|\\.)+\"|'(?:[^'\\\n]|\\.)+'"
        r"|[^\s\"',;&)}\]]+)" % _NAMES,
        r"(--%s\s{1,4})(?!-)[^\s\"',;]+" % _NAMES,
        r"(\b)(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|sk_live_|rk_live_|AKIA|ASIA|npm_|"
        r"pypi-|AIza)[\w-]{12,}",
        r"(\b)eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    )
)
_PRIVATE_KEY = re.compile(_PATTERNS[0].pattern, re.IGNORECASE | re.DOTALL)
_SECRET_OPTION = re.compile("--?" + _NAMES, re.IGNORECASE)


def redact(text: str, extra: "Sequence[re.Pattern[str]]" = ()) -> "tuple[str, int]":
    """Return ``text`` without its secrets, and how many were replaced.

    Matches of ``extra`` are replaced too.
    """
    count = 0
    for pattern in (_PRIVATE_KEY, *_PATTERNS[1:]):
        text, found = pattern.subn(_replaced, text)
        count += found
    for pattern in extra:
        text, found = pattern.subn(lambda match: REDACTED if match.group() else "", text)
        count += found
    return text, count


def redact_words(
    words: "Sequence[str]", extra: "Sequence[re.Pattern[str]]" = ()
) -> "tuple[list[str], int]":
    """Do the same for a command's words, where an option's secret may be the next word."""
    found, count, is_secret = [], 0, False
    for word in words:
        if is_secret and not word.startswith("-"):
            text, replaced = REDACTED, 1
        else:
            text, replaced = redact(word, extra)
        is_secret = _SECRET_OPTION.fullmatch(word) is not None
        found.append(text)
        count += replaced
    return found, count


def _replaced(match: "re.Match[str]") -> str:
    return match.group(1) + REDACTED
