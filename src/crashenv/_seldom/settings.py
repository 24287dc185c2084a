"""Parse the text of the variable into :class:`Settings`.

The functions depend only on their arguments and the names of the signals. This module
imports only what a starting interpreter has loaded already.
"""

from os import name as os_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Collection, Iterable, Mapping
else:
    import _signal

VARIABLE = "PYDEBUG"
SECOND_NAME = "CRASHENV"  # of the variable; wins if both are set

DEFAULT_TIMEOUT = 5.0
DEFAULT_LIMIT = 1 << 20
LEAST_LIMIT = 1 << 10
THREADS = ("report", "fatal", "ignore")
TRACEBACK = ("single", "all")

_OUTPUTS = ("crashfd", "crashhandle", "crashfile")
_DIGITS = frozenset("0123456789")
# faulthandler.enable() owns the first five (register() refuses them); the last two
# cannot be caught (signal(7)).
_NOT_FOR_DUMPS = frozenset(("SEGV", "BUS", "FPE", "ILL", "ABRT", "KILL", "STOP"))


def variable(environment: "Mapping[str, str]") -> str:
    """Return the name of the variable that counts in ``environment``."""
    return SECOND_NAME if SECOND_NAME in environment else VARIABLE


class Settings:
    """The settings in one PYDEBUG text.

    ``fd`` is the descriptor number of ``crashfd=N``, ``handle`` that of ``crashhandle=H``,
    ``identity`` the ``(st_dev, st_ino)`` that it must have, ``listen_name`` the name of
    ``crashfd=@NAME``, ``path`` the template of ``crashfile``; at most one of
    ``fd``, ``handle``, ``listen_name`` and ``path`` is set. ``owner`` is the process that
    also has the handle, ``is_for_all`` whether not only workers may duplicate it from there.
    ``elsewhere`` is a path of the same file for processes that did not inherit ``fd``.
    ``timeout`` is in seconds, ``limit`` in bytes, ``signal`` a signal number or 0.
    ``tags`` go into the header. ``family`` names the files of a monitor for its descendants.
    """

    __slots__ = (
        "elsewhere",
        "family",
        "fd",
        "handle",
        "identity",
        "is_for_all",
        "limit",
        "listen_name",
        "owner",
        "path",
        "signal",
        "tags",
        "threads",
        "timeout",
        "traceback",
    )

    def __init__(self) -> None:
        self.fd: int | None = None
        self.handle: int | None = None
        self.owner = 0
        self.is_for_all = False
        self.identity: tuple[int, int] | None = None
        self.listen_name: str | None = None
        self.path: str | None = None
        self.threads = "report"
        self.traceback = "single"
        self.timeout = DEFAULT_TIMEOUT
        self.limit = DEFAULT_LIMIT
        self.signal = 0
        self.elsewhere = ""
        self.family = ""
        self.tags: dict[str, str] = {}

    def has_output(self) -> bool:
        passed = self.fd is not None or self.handle is not None
        return passed or bool(self.listen_name or self.path)


class Problem(Exception):
    """A value, or the file that it names, cannot be used; the message says why."""


def parse(text: str) -> "tuple[Settings, list[tuple[str, str]]]":
    """Return the settings, and ``(item, reason)`` for each item that is not used."""
    settings = Settings()
    problems: list[tuple[str, str]] = []
    items: dict[str, str | None] = {}
    for item in crash_items(text):
        key, equals, value = item.partition("=")
        key = key.rstrip()
        if key == "crashtags":
            try:
                _crashtags(settings, value)
            except Problem as problem:
                problems.append((item, str(problem)))
            continue
        items.pop(key, None)  # the last of a repeated key counts, with its position
        items[key] = value.lstrip() if equals else None
    for key, given in items.items():
        try:
            if given is None and key in _SETTERS:
                raise Problem("has no value")
            if key not in _SETTERS:
                raise _unknown(key)
            _SETTERS[key](settings, given or "")
        except Problem as problem:
            message = key if given is None else key + "=" + given
            problems.append((message, str(problem)))
    _later_output_wins(settings, items, problems)
    return settings, problems


def crash_items(text: str) -> "Iterable[str]":
    """Return the items that are ours, stripped of spaces.

    ``crashtags=a:1,b:2`` is two items: one that follows, with a colon and no ``=``, is a tag.
    """
    items: list[str] = []
    is_tag = False
    for item in map(str.strip, text.split(",")):
        is_tag = item.startswith("crashtags") or (is_tag and ":" in item and "=" not in item)
        if item.startswith("crash"):
            items.append(item)
        elif is_tag:
            items.append("crashtags=" + item)
    return items


def replaced(text: str, keys: "Collection[str]", item: "str | None") -> str:
    """Return ``text`` with ``item`` instead of the items of ``keys``; without them if it is None.

    Other items stay as they are.
    """
    items = text.split(",")
    is_theirs = [one.partition("=")[0].strip() not in keys for one in items]
    kept = [one for one, stays in zip(items, is_theirs) if stays]
    if item is not None:
        first = is_theirs.index(False) if False in is_theirs else len(items)
        kept.insert(first, item)
    return ",".join(kept)


def number(text: str, most_digits: int = 20) -> int:
    """Return a decimal number; unlike int(), accept only ASCII digits. Raise Problem."""
    if not text or not _DIGITS.issuperset(text) or len(text) > most_digits:
        raise Problem("is not a number")
    return int(text)


def _crashfd(settings: "Settings", value: str) -> None:
    settings.identity = None
    if value.startswith("@") and len(value) > 1:
        settings.listen_name = value[1:]
        return
    *parts, elsewhere = value.split(":", 3)
    if len(parts) < 3:
        parts, elsewhere = value.split(":"), ""
    if len(parts) not in (1, 3):
        raise Problem("is not N, N:DEV:INO or @NAME")
    if elsewhere and not elsewhere.startswith("/proc/"):
        raise Problem("names a file that is not below /proc")
    try:
        fd, *identity = map(number, parts)
    except Problem:
        raise Problem("is not N, N:DEV:INO or @NAME") from None
    if fd > 0x7FFFFFFF:  # a C int
        raise Problem("is not a descriptor number")
    settings.fd = fd
    if identity:
        settings.identity = (identity[0], identity[1])
        settings.elsewhere = elsewhere


def _crashhandle(settings: "Settings", value: str) -> None:
    *parts, last = value.split(":")
    is_for_all = last == "all" and len(parts) == 4
    if not is_for_all:
        parts.append(last)
    try:
        handle, *rest = map(number, parts)
    except Problem:
        rest = [0]
    if len(rest) not in (0, 2, 3):
        raise Problem("is not H, H:DEV:INO or H:DEV:INO:PID")
    if not 0 < handle < 1 << 32:  # 64-bit handles have 32 significant bits
        raise Problem("is not a handle")
    if os_name != "nt":
        raise Problem("is for Windows; use crashfd on this system")
    settings.handle, settings.is_for_all = handle, is_for_all
    settings.identity = (rest[0], rest[1]) if rest else None
    settings.owner = rest[2] if rest[2:] else 0


def _crashfile(settings: "Settings", value: str) -> None:
    if not value:
        raise Problem("has no file name")
    if "\0" in value:
        raise Problem("is not a path")
    if value.startswith("~/"):
        raise Problem("begins with ~, which is not expanded there; use $HOME")
    letters = value.replace("%%", "").split("%")[1:]
    for letter in letters:
        if letter[:1] not in ("p", "t", "e", "h"):
            raise Problem("%" + letter[:1] + " is not one of %p %t %e %h %%")
    settings.path = value


def _crashthreads(settings: "Settings", value: str) -> None:
    settings.threads = _choice(value, THREADS)


def _crashtraceback(settings: "Settings", value: str) -> None:
    settings.traceback = _choice(value, TRACEBACK)


def _choice(value: str, choices: "tuple[str, ...]") -> str:
    if value not in choices:
        raise Problem("is not one of " + ", ".join(choices))
    return value


def _crashtimeout(settings: "Settings", value: str) -> None:
    whole, _, part = value.partition(".")
    try:
        number(whole or "0", 9)
        number(part or "0")
    except Problem:
        raise Problem("is not a number of seconds") from None
    if not whole and not part:
        raise Problem("is not a number of seconds")
    settings.timeout = float(value)


def _crashlimit(settings: "Settings", value: str) -> None:
    shift = {"K": 10, "M": 20}.get(value[-1:].upper(), 0)
    try:
        limit = number(value[:-1] if shift else value, 12) << shift
    except Problem:
        raise Problem("is not a number of bytes, with K or M") from None
    if limit < LEAST_LIMIT:
        raise Problem("is less than 1K")
    settings.limit = limit


def _crashsignal(settings: "Settings", value: str) -> None:
    settings.signal = signal_number(value)


def signal_number(name: str) -> int:
    """Return the number of ``USR2`` or ``SIGUSR2``. Raise Problem if it cannot be used."""
    name = name.upper()
    if name.startswith("SIG"):
        name = name[3:]
    signum = getattr(_signal, "SIG" + name, None) if name.isalnum() else None
    if not isinstance(signum, int):
        raise Problem("is not the name of a signal")
    if os_name == "nt" and name != "BREAK":
        raise Problem("is not BREAK, the only signal that Windows can send")
    if signum in [getattr(_signal, "SIG" + other, 0) for other in _NOT_FOR_DUMPS]:
        raise Problem("is a signal that cannot be used")
    return int(signum)


def _crashtags(settings: "Settings", value: str) -> None:
    name, colon, tag = value.partition(":")
    name = name.strip()
    if not colon or not name.isascii() or not name.replace(".", "").replace("_", "").isalnum():
        raise Problem("is not NAME:VALUE")
    settings.tags[name] = tag.strip()


def _crashfamily(settings: "Settings", value: str) -> None:
    settings.family = value


def _unknown(key: str) -> "Problem":
    from difflib import get_close_matches

    close = get_close_matches(key, [*_SETTERS, "crashtags"], 1)
    return Problem("is not a setting" + (" (did you mean %s?)" % close[0] if close else ""))


_SETTERS = {
    "crashfd": _crashfd,
    "crashhandle": _crashhandle,
    "crashfile": _crashfile,
    "crashthreads": _crashthreads,
    "crashtraceback": _crashtraceback,
    "crashtimeout": _crashtimeout,
    "crashlimit": _crashlimit,
    "crashsignal": _crashsignal,
    "crashfamily": _crashfamily,
}


def _later_output_wins(
    settings: "Settings", items: "dict[str, str | None]", problems: "list[tuple[str, str]]"
) -> None:
    outputs = [key for key in items if key in _OUTPUTS]
    if len(outputs) < 2:
        return
    winner = outputs.pop()
    if winner != "crashfile":
        settings.path = None
    if winner != "crashhandle":
        settings.handle, settings.owner, settings.is_for_all = None, 0, False
    if winner != "crashfd":
        settings.fd = settings.listen_name = None
        settings.elsewhere = ""
    if winner == "crashfile":
        settings.identity = None
    for loser in outputs:
        if not any(item.partition("=")[0] == loser for item, _ in problems):
            problems.append((loser, "is overridden by the later " + winner))
