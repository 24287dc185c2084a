"""The report format: its grammar, its limits, who writes it and who reads it.

::

    stream  = *( report / dump )
    report  = header body
    header  = "crashenv: report" *( " " key "=" value ) " bytes=" 1*DIGIT LF
    key     = "kind" / "pid" / "tid" / "thread" / "process" / "time" / "python"
            / "program" / "message" / "notes" / "tag." 1*printable / ...
    value   = *( printable ASCII but space, "%" and "=" / "%" 2HEXDIG )
    body    = as many bytes as "bytes" says, the last of them LF

A report is written by the process that crashed (``kind`` ``exception``,
``thread`` or ``process``) or by its monitor (``death``). Its body is the UTF-8
text that the default hook prints to stderr, without colour. A reader skips keys
that it does not know; fewer bytes than announced mean a truncated report.

``process`` is the name of a multiprocessing worker. ``message`` is how many lines
the exception's message has, and ``notes``, if it has notes (PEP 678), how many lines
each of them has, as in ``2,1``: without them a message cannot be told from what
it quotes. ``tag.NAME`` is what ``crashtags=NAME:VALUE`` asked for.

A dump is the text that faulthandler writes while the process dies of a signal: it
stands outside any report.

A whole report, header included, is at most ``crashlimit`` bytes. What does not fit
is cut from the middle of the body, on a character's boundary, and the line
``[crashenv: N bytes left out]`` stands in its place. A value is at most
a quarter of the limit and at most 1,024 bytes long, cut from its end.

At a crash this file is executed in a namespace of its own: it imports nothing, and has type
comments, because annotations take time.
"""

PREFIX = b"crashenv: report"
OMISSION = b"\n[crashenv: %d bytes left out]\n"
LONGEST_VALUE = 1024


def header(fields, size, longest=LONGEST_VALUE):
    # type: (list[tuple[str, str]], int, int) -> bytes
    """The header line of a body of ``size`` bytes; a value has ``longest`` bytes at most."""
    text = ""
    for key, value in fields:
        text += " " + key + "=" + quote(value, longest)
    return PREFIX + text.encode("ascii") + b" bytes=%d\n" % size


def quote(text, longest=LONGEST_VALUE):
    # type: (str, int) -> str
    """A header value: percent-encoded UTF-8; a lone surrogate becomes ``\\udc80``."""
    if len(text) <= longest and text.isascii() and text.isprintable():
        is_plain = " " not in text and "%" not in text and "=" not in text
        if is_plain:
            return text
    quoted = ""
    for byte in text[:longest].encode("utf-8", "backslashreplace"):
        piece = chr(byte) if 0x20 < byte < 0x7F and byte not in b"%=" else "%%%02X" % byte
        if len(quoted) + len(piece) > longest:
            break
        quoted += piece
    return quoted


def timestamp(nanoseconds):
    # type: (int) -> str
    """UTC in RFC 3339 with microseconds, of a time since 1970."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    days, second = divmod(seconds, 86400)
    # From days to a date of the Gregorian calendar, in 400-year cycles that begin on 1 March.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += era * 400 + (month > 9)
    month += 3 if month < 10 else -9
    clock = second // 3600, second // 60 % 60, second % 60, rest // 1000
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (year, month, day + 1, *clock)
