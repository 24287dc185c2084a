"""The times in records and in the names of their files."""

from calendar import timegm


def nanoseconds(text: "str | None") -> int:
    """Convert ``2026-11-22T10:11:12.345678Z``, or the store's form; return 0 if it is neither."""
    digits = "".join(c for c in text or "" if c not in "-:")
    whole, _, fraction = digits.rstrip("Z").partition(".")
    day, _, clock = whole.partition("T")
    if not (len(day) == 8 and len(clock) == 6 and (day + clock + fraction).isdecimal()):
        return 0
    parts = [int(part) for part in (day[:4], day[4:6], day[6:], clock[:2], clock[2:4], clock[4:])]
    try:
        seconds = timegm((*parts, 0, 0, 0))
    except ValueError:
        return 0
    return seconds * 10**9 + int((fraction + "000000000")[:9])
