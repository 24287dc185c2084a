"""The report format: who writes what, and how much of it.

::

    stream  = *( report / dump )
    report  = header body
    header  = "crashenv: report" *( " " key "=" value ) " bytes=" 1*DIGIT LF
    key     = "kind" / "pid" / "tid" / "thread" / "time" / "python" / "program" / "notes" / ...
    value   = *( printable ASCII but space, "%" and "=" / "%" 2HEXDIG )
    body    = as many bytes as "bytes" says, the last of them LF

A report is written by the process that crashed (``kind`` ``exception``,
``thread`` or ``process``) or by its monitor (``death``). Its body is the UTF-8
text that the default hook prints to stderr, without colour. A reader skips keys
that it does not know; fewer bytes than announced mean a truncated report. If the
exception has notes (PEP 678), which look like more lines of its message, ``notes``
is how many lines each of them has: ``2,1``. A dump is the text that faulthandler
writes while the process dies of a signal: it stands outside any report.

A whole report, header included, is at most ``limit`` bytes. What does not fit
is cut from the middle of the body, on a character's boundary, and the line
``[crashenv: N bytes left out]`` stands in its place. A value is at most
a quarter of the limit and at most 1,024 bytes long, cut from its end.
"""

import os
import sys
from time import gmtime, strftime, time_ns

PREFIX = b"crashenv: report"
OMISSION = b"\n[crashenv: %d bytes left out]\n"

_LONGEST_VALUE = 1024
_OMISSION_ROOM = len(OMISSION) + 20
_SLICE = 1 << 16
_PLAIN = frozenset(bytes(range(0x21, 0x7F))) - frozenset(b"%=")


def encode(text: str) -> bytes:
    """UTF-8; a lone surrogate becomes ``\\udc80``, as on stderr."""
    return text.encode("utf-8", "backslashreplace")


def quote(text: str, longest: int = _LONGEST_VALUE) -> bytes:
    """A header value: percent-encoded, at most ``longest`` bytes."""
    quoted = b""
    for byte in encode(text[:longest]):
        piece = b"%c" % byte if byte in _PLAIN else b"%%%02X" % byte
        if len(quoted) + len(piece) > longest:
            break
        quoted += piece
    return quoted


class Body:
    """Collects a report's body in memory bounded by the report's limit (bytes).

    Without a bytearray: one that cannot grow, for want of memory, prints an error
    of its own when it is freed (seen on 3.9).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        self._head: list[bytes] = []
        self._tail: list[bytes] = []
        self._room = self.limit // 2  # of the head
        self._tail_size = 0
        self._total = 0

    def __bool__(self) -> bool:
        return self._total > 0

    def add(self, text: str) -> None:
        # In slices, so that a message of 100 MB does not become another 100 MB.
        for start in range(0, len(text), _SLICE):
            self._add(encode(text[start : start + _SLICE]))

    def _add(self, data: bytes) -> None:
        self._total += len(data)
        if self._room:
            head, data = data[: self._room], data[self._room :]
            self._head.append(head)
            self._room -= len(head)
        self._tail.append(data)
        self._tail_size += len(data)
        keep = self.limit // 2
        if self._tail_size > keep + _SLICE:
            self._tail = [b"".join(self._tail)[-keep:]]
            self._tail_size = keep

    def _data(self) -> bytes:
        return b"".join([*self._head, *self._tail])

    def text(self) -> str:
        return self._data().decode("utf-8", "backslashreplace")

    def fit(self, room: int) -> bytes:
        """At most ``room`` bytes that end with a newline."""
        data = self._data()
        end = b"" if data.endswith(b"\n") else b"\n"
        if self._total + len(end) <= room:
            return data + end
        half = (room - _OMISSION_ROOM) // 2
        head, tail = _whole_head(data[:half]), _whole_tail(data[-half:])
        return head + OMISSION % (self._total - len(head) - len(tail)) + tail + end

    def report(self, kind: str, thread: str, tid: int, notes: str = "") -> bytes:
        """The whole report, header and body, at most ``limit`` bytes."""
        longest = min(_LONGEST_VALUE, self.limit // 4)
        fields = [
            ("kind", kind),
            ("pid", str(os.getpid())),
            ("tid", str(tid)),
            ("thread", thread),
            ("time", timestamp(time_ns())),
            ("python", sys.version.split(None, 1)[0]),
            ("program", program()),
        ]
        if notes:
            fields.append(("notes", notes))
        header = PREFIX
        for key, value in fields:
            header += b" %s=%s" % (key.encode(), quote(value, longest))
        body = self.fit(self.limit - len(header) - len(" bytes=\n") - len(str(self.limit)))
        return header + b" bytes=%d\n" % len(body) + body


def program() -> str:
    """The file that ``__main__`` was loaded from, else ``sys.argv[0]``."""
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if not isinstance(name, str):
        argv = getattr(sys, "argv", None) or [""]
        name = argv[0]
    return name if isinstance(name, str) else ""


def timestamp(nanoseconds: int) -> str:
    """UTC in RFC 3339 with microseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)) + ".%06dZ" % (rest // 1000)


def _whole_head(data: bytes) -> bytes:
    """``data`` without a UTF-8 sequence that its end cuts (RFC 3629, section 3)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return data if length <= back else data[:-back]
        if byte < 0x80:
            break
    return data


def _whole_tail(data: bytes) -> bytes:
    """``data`` without a UTF-8 sequence that its beginning cuts."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]
