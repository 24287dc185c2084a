"""Points in time: as records have them, as people write and read them."""

import time

_DAY = 86400
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}


def seconds(stamp: "str | None") -> "int | None":
    """Since 1970, of a time in RFC 3339 with ``Z``, such as a record has; None of another text."""
    if stamp is None or stamp[10:11] != "T" or not stamp.endswith("Z"):
        return None
    digits = stamp[:4] + stamp[5:7] + stamp[8:10] + stamp[11:13] + stamp[14:16] + stamp[17:19]
    if len(digits) != 14 or not (digits.isascii() and digits.isdigit()):
        return None
    days = _days(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    return days * _DAY + int(digits[8:10]) * 3600 + int(digits[10:12]) * 60 + int(digits[12:])


def _days(year: int, month: int, day: int) -> int:
    """From 1970-01-01 on, in the Gregorian calendar; datetime takes 4 ms to import."""
    if month < 3:
        year, month = year - 1, month + 12
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + (153 * month - 457) // 5 + day - 719469


def local(stamp: "str | None") -> str:
    """Year to second, in local time; ``-`` of no time."""
    since = seconds(stamp)
    try:
        return "-" if since is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    except (OverflowError, OSError, ValueError):
        return "-"


def ago(stamp: "str | None") -> str:
    """``3 min ago``; empty of no time, or of one to come."""
    since = seconds(stamp)
    passed = -1 if since is None else int(time.time()) - since
    if passed < 0:
        return ""
    for unit in ("d", "h", "min"):
        if passed >= 2 * _UNITS[unit]:
            return "%d %s ago" % (passed // _UNITS[unit], unit)
    return "%d s ago" % passed


def parse(text: str) -> int:
    """Seconds since 1970, of what a person means, in local time unless it says another.

    ``2026-11-22``, ``2026-11-22 10:11[:12]``, ``2026-11-22T10:11:12Z``, ``10:11``,
    ``today``, ``yesterday``, ``@SECONDS`` or how long ago: ``90s``, ``30min``,
    ``2h``, ``7d``, ``1w``. Raises ValueError.
    """
    from datetime import datetime, timedelta

    text = text.strip()
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return _to_seconds(midnight - timedelta(days=text == "yesterday"))
    if text.startswith("@"):
        return int(text[1:])
    past = text[: -len("ago")].rstrip() if text.endswith("ago") else text
    number = past.rstrip("abcdefghijklmnopqrstuvwxyz").rstrip()
    unit = past[len(number) :].strip()
    if number.isdigit() and unit in _UNITS:
        return int(time.time()) - int(number) * _UNITS[unit]
    if len(text) in (5, 8) and text[2] == ":":
        text = midnight.strftime("%Y-%m-%d ") + text
    if text.endswith("Z"):  # from 3.11 on fromisoformat() knows it
        text = text[:-1] + "+00:00"
    return _to_seconds(datetime.fromisoformat(text))


def _to_seconds(when: "object") -> int:
    return int(when.timestamp())  # type: ignore[attr-defined]
