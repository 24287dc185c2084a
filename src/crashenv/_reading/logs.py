"""Logs -> the streams in them: lines that a collector wrote get their beginnings taken off.

kubelet, docker compose, journald, syslog, GitHub Actions, Airflow and others put
something before each line, and an indented or quoted paste has it too. No list of them
is needed: where a report, a dump or a traceback begins in the middle of a line, and the
next line begins in the same way but for its time, that beginning is a prefix. Every line
with it goes to a stream of its own, so that the lines of two processes may alternate.
Docker and journald also write lines of JSON, of which one key has the text.

A report that begins a line is passed on as it is, whatever its lines look like.
"""

from crashenv._reading.frames import LARGEST, Splitter
from crashenv._wire import PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Pattern

    from crashenv._reading.frames import Frame

_START = PREFIX + b" "
_TRACEBACK = b"Traceback (most recent call last):"
# What a line goes on with, behind a prefix.
_MARKS = (
    PREFIX + b" kind=",
    b"Fatal Python error: ",
    b"Windows fatal exception: ",
    b"Timeout (",
    b"Current thread 0x",
    b"Thread 0x",
    b"Stack (most recent call first",
)
_LONGEST_LINE = 1 << 16
_LONGEST_HEADER = 1 << 14
_LONGEST_PREFIX = 200
_MOST_STREAMS = 16  # at a time; each line is compared with the prefix of each
_MOST_PREFIXES = 3  # that a line has, as compose's in a job of GitHub Actions
_MOST_FAILURES = 1000  # of finding a prefix, after which only its like is looked at
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

# What differs from line to line of one writer: times, levels, Airflow's {file.py:12},
# the kubelet's F (full) and P (partial). The same kind of it stands there on each line.
_VARYING = (
    rb"\d{4}-\d\d-\d\d(?:[T ,]+\d\d:\d\d:\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?",
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} \d\d:\d\d:\d\d",
    rb"\d{1,2}[/-][A-Z][a-z][a-z][/-]\d{4}[ :]\d\d:\d\d:\d\d",
    rb"\d\d/\d\d/\d\d(?:\d\d)? \d\d:\d\d:\d\d",
    rb"\d\d:\d\d:\d\d(?:[.,]\d+)?",
    rb"\b\d{10,19}(?:\.\d+)?\b",
    rb"\{[^{}]*\}",
    rb"\b(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b",
    rb" [FP] $",
)
_COLOURS = rb"\x1b\[[0-9;?]*[ -/]*[@-~]"
_JSON_KEYS = ("log", "MESSAGE", "message", "msg", "textPayload")
_WRITER_KEYS = ("stream", "_PID", "_BOOT_ID", "SYSLOG_IDENTIFIER", "container_id", "pid", "logger")


class Log:
    """Accepts a log in pieces of any size, and returns the frames in it, like Splitter."""

    def __init__(self, tracebacks: bool = False, depth: int = _MOST_PREFIXES) -> None:
        self._is_with_tracebacks = tracebacks
        self._depth = depth
        self._marks = (*_MARKS, _TRACEBACK) if tracebacks else _MARKS
        self._plain = Splitter(tracebacks)
        self._streams: dict[bytes, _Stream] = {}
        self._rest = b""  # a line that has not ended
        self._whole = 0  # bytes of a report that are still to come
        self._held: tuple[bytes, int] | None = None  # a line that may have a prefix of so many
        self._json_writers: dict[bytes, _Stream] = {}
        self._to_plain: list[bytes] = []
        self._frames: list[Frame] = []  # of streams that had to make room
        self._skipped = 0  # in these
        self._failures = 0
        self._is_crlf = False
        self._return = b""  # which may be the first half of a line's end

    @property
    def skipped(self) -> int:
        """Return how many bytes belong to no frame, without the prefixes of lines."""
        return self._skipped + sum(one.skipped for one in self._all())

    def feed(self, data: bytes) -> "list[Frame]":
        """Return the frames that ``data`` completes."""
        if self._is_crlf:
            data = self._return + data
            self._return = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(self._return)].replace(b"\r\n", b"\n")
        if self._whole and not self._rest:
            taken = min(self._whole, len(data))
            self._whole -= taken
            if taken == len(data):
                self._to_plain.append(data)
                return self._taken()
            self._to_plain.append(data[:taken])
            data = data[taken:]
        self._pass(self._rest + data)
        return self._taken()

    def flush(self) -> "list[Frame]":
        """Return the frames that are complete if nothing follows for a while."""
        self._end_line()
        frames = self._taken()
        for one in self._all():
            frames += one.flush()
        return frames

    def close(self) -> "list[Frame]":
        """Return the rest at the end of the stream. Then another may begin."""
        self._end_line()
        frames = self._taken()
        for one in self._all():
            frames += one.close()
        self._whole = 0
        self._is_crlf = False
        return frames

    def _all(self) -> "list[Log | Splitter]":
        others = [*self._streams.values(), *self._json_writers.values()]
        return [self._plain, *(one.splitter for one in others)]

    def _taken(self) -> "list[Frame]":
        frames, self._frames = self._frames, []
        data, self._to_plain = b"".join(self._to_plain), []
        if data:
            frames += self._plain.feed(data)
        for one in (*self._streams.values(), *self._json_writers.values()):
            frames += one.feed()
        return frames

    def _end_line(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest)
        self._release()

    def _inner(self) -> "Log | Splitter":
        """What reads the lines of one writer, which may have another prefix."""
        if self._depth > 1:
            return Log(self._is_with_tracebacks, self._depth - 1)
        return Splitter(self._is_with_tracebacks)

    # --- text and whole reports, by turns

    def _pass(self, data: bytes) -> None:
        position, self._rest = 0, b""
        while position < len(data):
            found = data.find(_START, position)
            while found > 0 and found > position and data[found - 1] != 10:
                found = data.find(_START, found + 1)
            stop = len(data) if found < 0 else found
            if stop > position:
                position = self._pass_text(data, position, stop)
            if found < 0 or position < stop:
                self._rest = data[position:]
                if len(self._rest) > _LONGEST_LINE:
                    self._end_line()
                return
            size = self._size(data, found)
            if not size:  # whoever copied it made two characters of each line's end
                self._is_crlf = True
                data, position = data[found:], 0
                self._return = b"\r" if data.endswith(b"\r") else b""
                data = data[: len(data) - len(self._return)].replace(b"\r\n", b"\n")
                continue
            if size < 0:
                self._rest = data[found:]
                return
            self._release()
            end = found + size
            self._to_plain.append(data[found:end])
            self._whole = max(0, end - len(data))
            position = end

    def _size(self, data: bytes, start: int) -> int:
        """Of the report at ``start``, or of its line.

        -1 if the header is not whole yet, 0 if its line does not end as one of ours does.
        """
        newline = data.find(b"\n", start, start + _LONGEST_HEADER)
        if newline < 0:
            return -1 if len(data) - start < _LONGEST_HEADER else len(data) - start
        number = data[start:newline].rpartition(b" bytes=")[2]
        if number.endswith(b"\r") and number[:-1].isdigit() and not self._is_crlf:
            return 0
        announced = int(number) if number.isdigit() and len(number) < 9 else 0
        return newline + 1 - start + (announced if announced <= LARGEST else 0)

    def _pass_text(self, data: bytes, start: int, stop: int) -> int:
        """Read the lines between; return where the last one begins, if it has not ended."""
        end = data.rfind(b"\n", start, stop) + 1
        if not end:
            return start
        if not (self._streams or self._json_writers or self._held):
            first = self._first_candidate(data, start, end)
            if first > start:
                self._to_plain.append(data[start:first])
            start = first
        for line in data[start:end].splitlines(keepends=True) if start < end else ():
            self._line(line)
        return end

    def _first_candidate(self, data: bytes, start: int, end: int) -> int:
        """Return the first line with a mark that is not at its beginning, or ``end``."""
        first = end
        for mark in self._marks:
            found = data.find(mark, start, first)
            while found >= 0 and (found == start or data[found - 1] == 10):
                found = data.find(mark, found + 1, first)
            if found >= 0:
                first = data.rfind(b"\n", start, found) + 1 or start
        return first

    # --- one line

    def _line(self, line: bytes) -> None:
        if self._held is not None:
            self._decide(line)
        for pattern, stream in self._streams.items():
            if stream.take(line):
                if next(iter(self._streams)) != pattern:  # the likeliest first
                    self._streams = {pattern: stream, **self._streams}
                return
        if line.startswith(b"{") and self._take_json(line):
            return
        column = self._column(line)
        if column > 0:
            self._held = line, column
        else:
            self._to_plain.append(line)

    def _column(self, line: bytes) -> int:
        """Where, past a prefix, something begins; 0 if nothing does."""
        found = [line.find(mark, 0, _LONGEST_PREFIX + 40) for mark in self._marks]
        column = min([place for place in found if place >= 0], default=0)
        prefix = line[:column]
        # The margin of an exception group is none.
        is_margin = not prefix.strip(b" |+-") and prefix.strip() != b""
        return 0 if is_margin or prefix.endswith(b"Exception Group ") else column

    def _decide(self, line: bytes) -> None:
        """Whether what stands before the held line's text is a prefix: ``line`` has it too."""
        assert self._held is not None
        held, column = self._held
        if self._may_be_prefix(held[:column], line):
            pattern = _pattern(held[:column])
            stream = _Stream(pattern, self._inner())
            if stream.matches(line):
                self._held = None
                self._streams = {pattern: stream, **self._streams}
                self._make_room(self._streams)
                stream.take(held)
                return
            self._failures += 1
        self._release()

    def _may_be_prefix(self, prefix: bytes, line: bytes) -> bool:
        """Whether it is worth to make a pattern of it."""
        size = len(prefix) if self._failures > _MOST_FAILURES else min(6, len(prefix))
        begin = line[:size].translate(_DIGITS).rstrip()
        return begin == prefix[:size].translate(_DIGITS).rstrip() or not line.strip()

    def _make_room(self, streams: "dict[bytes, _Stream]") -> None:
        while len(streams) > _MOST_STREAMS:
            stream = streams.pop(list(streams)[-1])
            self._frames += stream.feed() + stream.splitter.close()
            self._skipped += stream.splitter.skipped

    def _release(self) -> None:
        if self._held is not None:
            self._to_plain.append(self._held[0])
            self._held = None

    def _take_json(self, line: bytes) -> bool:
        """Whether it is an object that has a text, of a writer that has reported something."""
        if not self._json_writers and not any(map(line.count, self._marks)):
            return False
        from crashenv._reading.decode import decode

        try:
            value = decode(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return False
        text = next((value[key] for key in _JSON_KEYS if key in value), None)
        if isinstance(text, list):  # journald's, of what is not UTF-8
            text = bytes(n for n in text if isinstance(n, int) and 0 <= n < 256)
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogatepass")
        if not isinstance(text, bytes):
            return False
        writer = repr([value.get(key) for key in _WRITER_KEYS]).encode("utf-8", "replace")
        stream = self._json_writers.get(writer)
        if stream is None:
            if not any(map(text.count, self._marks)):
                return False
            stream = _Stream(b"", self._inner())
            self._json_writers = {writer: stream, **self._json_writers}
            self._make_room(self._json_writers)
        stream.lines.append(text if text.endswith(b"\n") or "log" in value else text + b"\n")
        return True


class _Stream:
    """The lines of one writer, without their prefix, which ``pattern`` matches."""

    def __init__(self, pattern: bytes, splitter: "Log | Splitter") -> None:
        self.splitter = splitter
        self.lines: list[bytes] = []
        self._match: Pattern[bytes] | None = None
        self._is_kubelet = pattern.endswith(rb" [FP] )")
        if pattern:
            import re

            # A blank line may have lost the space behind its prefix.
            bare = pattern.rstrip(b"\\ ")
            self._match = re.compile(rb"(?:%s)|(?:%s(?=\r?$))" % (pattern, bare))
            self._colours = re.compile(_COLOURS)

    def matches(self, line: bytes) -> bool:
        return self._match is not None and self._match.match(line) is not None

    def take(self, line: bytes) -> bool:
        """Whether ``line`` has the prefix, and so was taken."""
        match = self._match.match(line) if self._match is not None else None
        if match is None:
            return False
        text = line[match.end() :]
        if text.endswith(b"\r\n"):
            text = text[:-2] + b"\n"
        if b"\x1b" in text:
            text = self._colours.sub(b"", text)
        if self._is_kubelet and match[0].endswith(b" P "):
            text = text.rstrip(b"\n")  # the line goes on in the next one
        self.lines.append(text)
        return True

    def feed(self) -> "list[Frame]":
        if not self.lines:
            return []
        data, self.lines = b"".join(self.lines), []
        return self.splitter.feed(data)


def _pattern(prefix: bytes) -> bytes:
    """Return a regular expression for ``prefix`` on other lines of the same writer."""
    import re

    pattern, position = b"", 0
    for match in re.finditer(rb"(%s)" % rb")|(".join(_VARYING), prefix):
        pattern += re.escape(prefix[position : match.start()])
        pattern += rb"(?:%s)" % _VARYING[(match.lastindex or 1) - 1].rstrip(b"$")
        position = match.end()
    return pattern + re.escape(prefix[position:])
