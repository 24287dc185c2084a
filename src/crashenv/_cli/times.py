"""Times in records, and times that users write and read."""

import time

_DAY = 86400
_MOST_KEPT = 1000
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}


def seconds(stamp: "str | None") -> "int | None":
    """Convert a record's time, RFC 3339 with ``Z``, to seconds since 1970, or None."""
    if stamp is None or stamp[10:11] != "T" or not stamp.endswith("Z") or not stamp.isascii():
        return None
    if not (stamp[11:13] + stamp[14:16] + stamp[17:19]).isdigit():
        return None
    if stamp[13:14] != ":" or stamp[16:17] != ":":
        return None
    try:
        midnight = _midnights.get(stamp[:10]) or _midnight(stamp[:10])
        return midnight + int(stamp[11:13]) * 3600 + int(stamp[14:16]) * 60 + int(stamp[17:19])
    except ValueError:
        return None


_hours: "dict[str, str]" = {}  # UTC -> local; clocks are changed only at a full hour
_midnights: "dict[str, int]" = {}
_AS_ZERO = str.maketrans("123456789", "000000000")


def _midnight(date: str) -> int:
    """Return the time of midnight, in the Gregorian calendar; importing datetime takes 4 ms."""
    year, month, day = map(int, date.split("-"))
    if month < 3:
        year, month = year - 1, month + 12
    leaps = year // 4 - year // 100 + year // 400
    days = 365 * year + leaps + (153 * month - 457) // 5 + day - 719469
    if len(_midnights) >= _MOST_KEPT:
        _midnights.clear()
    _midnights[date] = days * _DAY
    return days * _DAY


def local(stamp: "str | None") -> str:
    """Format a time from year to second, in local time; ``-`` if there is none."""
    if stamp is None:
        return "-"
    known, rest = _hours.get(stamp[:13]), stamp[13:19]
    is_usual = rest.translate(_AS_ZERO) == ":00:00" and stamp[-1] == "Z" and stamp.isascii()
    if known is not None and is_usual:
        return known + rest
    since = seconds(stamp)
    if since is None:
        return "-"
    try:
        shown = time.localtime(since)
        text = "%d-%02d-%02d %02d:%02d:%02d" % shown[:6]
        _keep_hours(stamp[:10])
    except (OverflowError, OSError, ValueError):
        return "-"
    if not shown.tm_gmtoff % 3600:
        _hours[stamp[:13]] = text[:13]
    return text


def _keep_hours(date: str) -> None:
    """Keep the local times of a day's hours, unless clocks are changed on that day."""
    if len(_hours) >= _MOST_KEPT:
        _hours.clear()
    begin = _midnight(date)
    first, last = time.localtime(begin), time.localtime(begin + _DAY)
    if first.tm_gmtoff != last.tm_gmtoff or first.tm_gmtoff % 3600:
        return
    dates = ["%d-%02d-%02d " % day[:3] for day in (first, last)]
    for hour in range(24):
        is_next_day, local_hour = divmod(first.tm_hour + hour, 24)
        _hours["%sT%02d" % (date, hour)] = "%s%02d" % (dates[is_next_day], local_hour)


def ago(stamp: "str | None") -> str:
    """Return ``3 min ago``; an empty string if there is no time, or a future one."""
    since = seconds(stamp)
    passed = -1 if since is None else int(time.time()) - since
    if passed < 0:
        return ""
    for unit in ("d", "h", "min"):
        if passed >= 2 * _UNITS[unit]:
            return "%d %s ago" % (passed // _UNITS[unit], unit)
    return "%d s ago" % passed


def parse(text: str) -> int:
    """Convert a user's text to seconds since 1970, in local time unless it has a zone.

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
    if text.endswith("Z"):  # fromisoformat() accepts it only from 3.11 on
        text = text[:-1] + "+00:00"
    return _to_seconds(datetime.fromisoformat(text))


def _to_seconds(when: "object") -> int:
    return int(when.timestamp())  # type: ignore[attr-defined]
