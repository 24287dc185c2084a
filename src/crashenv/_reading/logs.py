"""Logs -> the streams in them: lines that a collector wrote get their beginnings taken off.

kubelet, docker compose, journald, syslog, GitHub Actions, Airflow and others put
something before each line, and an indented or quoted paste has it too. No list of them
is needed: where a report, a dump or a traceback begins in the middle of a line, and one of
the next lines begins in the same way but for its time, that beginning is a prefix. Every line
with it goes to a stream of its own, so that the lines of several processes may alternate.
Others write lines of JSON, of which one value has the text.

A report that begins a line is passed on as it is, whatever its lines look like.
"""

from crashenv._reading.frames import (
    IN_RARE_STARTS,
    LARGEST,
    TRACEBACK_STARTS,
    Splitter,
    is_syntax_error,
    uncoloured,
)
from crashenv._wire import PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

    from crashenv._reading.frames import Frame

_START = PREFIX + b" "
_TRACEBACK = TRACEBACK_STARTS[0]
_FRAME = b'  File "'
_FRAME_IN_JSON = b'  File \\"'
_TIMEOUT = b"Timeout ("
_RUNTIME_STATE = b"Python runtime state: "
# What a line goes on with, behind a prefix.
_MARKS = (
    PREFIX + b" kind=",
    b"Fatal Python error: ",
    b"Windows fatal exception: ",
    _TIMEOUT,
    b"Current thread 0x",
    b"Thread 0x",
    b"Stack (most recent call first",
)
# How writers of one line each write the ends of several: rsyslog, many in quotation marks,
# and Lambda, which has no blanks either.
_RSYSLOGS = b"):#012"
_QUOTED = b"):\\n"
_LAMBDAS = b"):\r\xc2\xa0"
_FOLDED_DUMPS = (b" first" + _RSYSLOGS, b" first" + _QUOTED)
_IN_FOLDS = b"st):"
_FOLDS = (*_FOLDED_DUMPS, b" last" + _RSYSLOGS, b" last" + _QUOTED, b" last" + _LAMBDAS)
_ANYWHERE = {*_FOLDS, _FRAME_IN_JSON}  # marks that a line may begin with
_GROUP = TRACEBACK_STARTS[1]
_GROUPS_MARGIN = len(_GROUP) - len(_TRACEBACK)
_LONGEST_LINE = 1 << 16
_LONGEST_HEADER = 1 << 14
_LONGEST_PREFIX = 200
_LIKELY = 6  # bytes that are compared first
_MOST_STREAMS = 16  # at a time; each line is compared with the prefix of each
_MOST_PREFIXES = 3  # that a line has, as compose's in a job of GitHub Actions
_MOST_KEPT = 64  # prefixes that were tried
_MOST_BETWEEN = 8  # lines of other writers, between the first two of one
_DOCKERS_LINE = 1 << 14  # bytes; docker makes several objects of a longer one
_MOST_FAILURES = 1000  # of finding a prefix, after which only its like is looked at
_FEW_LINES = 20  # of a writer, after which its lines are taken together
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

# What differs from line to line of one writer: times, levels, Airflow's {file.py:12},
# the kubelet's F (full) and P (partial), numbers of lines. The same kind of it stands there
# on each line.
_VARYING = (
    rb"\d{4}-\d\d-\d\d[T ,]+\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?",
    rb"\d{4}-\d\d-\d\d",
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)?",
    rb"\d{1,2}[/-][A-Z][a-z][a-z][/-]\d{4}[ :]\d\d:\d\d:\d\d",
    rb"\d\d?/\d\d?/\d\d(?:\d\d)?,? \d\d?:\d\d:\d\d(?:[.,]\d+)?",
    rb"(?<!\d)\d\d?:\d\d:\d\d(?:[.,]\d+)?",
    rb"\b\d{8}[T-]\d{6}(?:[.,]\d+)?",
    rb"(?<= )\d+\.\d{1,3}(?= |$)",
    rb"\b\d{10,19}(?:\.\d+)?\b",
    rb"\[ *\d+\.\d{6}\]",
    rb"@[0-9a-f]{24}\b",
    rb"\bsequenceId=\"\d+\"",
    rb"^\d{1,5} (?=<\d)",
    rb"\{[^{}\n]*\}",
    rb"\b(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b",
    rb"(?:(?<=stdout)|(?<=stderr)) [FP]\b",
)
_JSON_KEYS = ("log", "MESSAGE", "message", "msg", "textPayload", "event", "text", "line")
_DEEPEST_JSON = 4
_WRITER_KEYS = ("stream", "_PID", "_BOOT_ID", "SYSLOG_IDENTIFIER", "container_id", "pid", "logger")


class Log:
    """Accepts a log in pieces of any size, and returns the frames in it, like Splitter."""

    def __init__(self, tracebacks: bool = False, depth: int = _MOST_PREFIXES) -> None:
        self._is_with_tracebacks = tracebacks
        self._depth = depth
        # The likeliest first.
        self._marks = (_TRACEBACK, _FRAME, *_MARKS, *TRACEBACK_STARTS[1:]) if tracebacks else _MARKS
        self._folds = _FOLDS if tracebacks else _FOLDED_DUMPS
        self._anywhere = (*_FOLDS, _FRAME_IN_JSON) if tracebacks else _FOLDED_DUMPS
        self._plain = Splitter(tracebacks)
        self._streams: dict[bytes, _Stream] = {}
        self._rest = b""  # a line that has not ended
        self._whole = 0  # bytes of a report that are still to come
        self._held: _Held | None = None
        self._prefixes: dict[bytes, _Prefix] = {}
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
        self._release_all()

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
            self._release_all()
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
        candidates = _Candidates(data, start, end, self._is_with_tracebacks)
        while start < end:
            if self._held is None and self._streams:
                start = self._pass_run(data, start, end)
            elif self._held is None and not self._json_writers:
                first = candidates.next_line(start)
                if first > start:
                    self._to_plain.append(data[start:first])
                start = first
            if start < end:
                line = data[start : data.index(b"\n", start) + 1]
                self._line(line)
                start += len(line)
        return end

    def _pass_run(self, data: bytes, start: int, end: int) -> int:
        """Take the next lines of the likeliest writer; return where another line begins."""
        stream = next(iter(self._streams.values()))
        return stream.take_run(data, start, end)

    # --- one line

    def _line(self, line: bytes) -> None:
        held = self._held
        if held is not None:
            self._decide(held, line)
            if self._held is held:
                held.behind.append(line)
            else:
                self._line(line)
            return
        for key, stream in self._streams.items():
            if stream.take(line):
                if next(iter(self._streams)) != key:  # the likeliest first
                    self._streams = {key: stream, **self._streams}
                return
        if line.startswith(b"{") and self._take_json(line):
            return
        column = self._column(line)
        if any(map(line.count, self._folds)) and not line.startswith(b"{", column):
            self._to_plain.append(_unfolded(line, self._first_mark(line)))
        elif column > 0:
            self._held = _Held(line, column)
        else:
            self._to_plain.append(line)

    def _column(self, line: bytes) -> int:
        """Return where something begins after a prefix; 0 if nothing does."""
        json = line.find(b'{"', 1, _LONGEST_PREFIX)
        first = self._first_mark(line)
        if 0 < json < first:
            return json
        column = max(0, first)
        prefix = line[:column]
        # The margin of an exception group is none.
        is_margin = not prefix.strip(b" |+-") and prefix.strip() != b""
        if is_margin or prefix.endswith(b"Exception Group "):
            return 0
        if line.startswith(_FRAME, column) and not is_syntax_error(line[column:]):
            return 0
        return column

    def _first_mark(self, line: bytes) -> int:
        found = [line.find(mark) for mark in self._marks]
        return min([place for place in found if place >= 0], default=-1)

    def _decide(self, held: "_Held", line: bytes) -> None:
        """Whether what stands before the held line's text is a prefix: ``line`` has it too."""
        is_hasty = self._failures > _MOST_FAILURES
        goes_on = self._is_continuation(line)
        prefix = None if goes_on else self._prefix(held, line, is_hasty)
        if prefix is not None:
            self._held = None
            stream = _Stream(prefix, self._inner())
            self._streams = {prefix.pattern: stream, **self._streams}
            self._make_room(self._streams)
            if not stream.take(held.line):
                stream.lines.append(held.line[held.column :])
            for one in held.behind:
                self._line(one)
        elif goes_on or is_hasty or len(held.behind) >= _MOST_BETWEEN:
            self._release(held, line)

    def _is_continuation(self, text: bytes) -> bool:
        return text.startswith((_FRAME, _RUNTIME_STATE, *self._marks))

    def _prefix(self, held: "_Held", line: bytes, is_hasty: bool) -> "Optional[_Prefix]":
        """The one that both lines have, if any.

        Behind it, a test runner's progress may stand in the held line, and then ``line``
        has to go on with the text.
        """
        if held.column > _LONGEST_PREFIX:
            return None
        blanks = b" " * held.column
        if line.startswith(blanks) and self._goes_on(line[held.column :]):
            # journalctl, of an entry that has several lines
            return self._kept_prefix(blanks)
        size = held.column if is_hasty else min(_LIKELY, held.column)
        begin = line[:size].translate(_DIGITS).rstrip()
        if begin == held.line[:size].translate(_DIGITS).rstrip() or not line.strip():
            whole = self._kept_prefix(held.line[: held.column])
            end = whole.end(line)
            if end >= 0 and (not held.behind or self._goes_on(line[end:])):
                return whole
        begin = b"" if is_hasty else _common(held.line[: held.column], line)
        text = line[len(begin) :]
        goes_on = self._is_continuation(text) or (begin.strip() and self._goes_on(text))
        if begin and goes_on and text[:_LIKELY] != held.line[held.column :][:_LIKELY]:
            some = self._kept_prefix(begin)
            return some if some.end(line) >= 0 else None
        return None

    def _goes_on(self, text: bytes) -> bool:
        text = uncoloured(text) if b"\x1b" in text else text
        return not text.strip() or self._is_continuation(text)

    def _kept_prefix(self, text: bytes) -> "_Prefix":
        prefix = self._prefixes.get(text)
        if prefix is None:
            if len(self._prefixes) >= _MOST_KEPT:
                self._prefixes.clear()
            prefix = self._prefixes[text] = _Prefix(text)
        return prefix

    def _make_room(self, streams: "dict[bytes, _Stream]") -> None:
        while len(streams) > _MOST_STREAMS:
            stream = streams.pop(list(streams)[-1])
            self._frames += stream.feed() + stream.splitter.close()
            self._skipped += stream.splitter.skipped

    def _release_all(self) -> None:
        while self._held is not None:
            self._release(self._held)

    def _release(self, line: "_Held", following: bytes = b"") -> None:
        """The held line has no prefix. What begins in it, and goes on behind, gets its own line."""
        held, column, behind = line.line, line.column, line.behind
        self._held = None
        self._failures += 1
        text = held[column:]
        is_traceback = text.startswith(_TRACEBACK) and following.startswith(
            (_FRAME, _FRAME.lstrip())
        )
        is_timeout = text.startswith(_TIMEOUT) and text.rstrip().endswith(b")!")
        if (is_traceback and not held.startswith(b"Caused by: ")) or is_timeout:
            self._to_plain.append(held[:column] + b"\n")
            held = text
        self._to_plain.append(held)
        for one in behind:
            self._line(one)

    def _take_json(self, line: bytes) -> bool:
        """Return whether it is an object with a text, from a writer that has reported something."""
        if not self._json_writers and not any(map(line.count, (*self._marks, *self._anywhere))):
            return False
        from crashenv._reading.decode import decode

        try:
            value = decode(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return False
        text = self._text_in(value)
        if text is None:
            return False
        told = [(key, value[key]) for key in _WRITER_KEYS if value.get(key) is not None]
        writer = repr(told).encode("utf-8", "replace")
        stream = self._json_writers.get(writer)
        if stream is None:
            if not any(map(text.count, self._marks)):
                return False
            stream = _Stream(None, self._inner())
            self._json_writers = {writer: stream, **self._json_writers}
            self._make_room(self._json_writers)
        is_cut = "log" in value and len(text) >= _DOCKERS_LINE
        stream.lines.append(text if text.endswith(b"\n") or is_cut else text + b"\n")
        return True

    def _text_in(self, value: "dict[str, Any]") -> "Optional[bytes]":
        """The line that was logged; where another value has a traceback, as "exc_info", that."""
        text = None
        for key in _JSON_KEYS:
            if key in value:
                text = value[key]
                break
        if isinstance(text, list):  # journald's, of what is not UTF-8
            text = bytes(n for n in text if isinstance(n, int) and 0 <= n < 256)
        line = _encoded(text)
        if line is None or not any(map(line.count, self._marks)):
            for other in _texts(value, _DEEPEST_JSON):
                if any(map(other.count, self._marks)):
                    return other
        return line


def _encoded(text: "Any") -> "Optional[bytes]":
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    return text if isinstance(text, bytes) else None


def _texts(value: "Any", depth: int) -> "Iterator[bytes]":
    """The texts in a value of JSON."""
    text = _encoded(value)
    if text is not None:
        yield text
    elif isinstance(value, dict) and depth:
        for one in value.values():
            yield from _texts(one, depth - 1)


def _unfolded(line: bytes, column: int) -> bytes:
    """The lines that are folded into the end of ``line``, from ``column`` on."""
    column = max(0, column)
    text = line[column:].rstrip(b"\n")
    quote = line[column - 1 : column]
    if _RSYSLOGS in text:
        text = text.replace(b"#012", b"\n").replace(b"#011", b"\t")
    elif _QUOTED in text:
        if quote in (b'"', b"'"):
            end = text.rfind(quote)
            text = text if end < 0 else text[:end]
        for escape, meant in ((b"\\n", b"\n"), (b'\\"', b'"'), (b"\\'", b"'"), (b"\\\\", b"\\")):
            text = text.replace(escape, meant)
    else:
        text = text.replace(b"\r", b"\n").replace(b"\xc2\xa0", b" ")
    return line[:column].rstrip() + b"\n" + text + b"\n"


class _Candidates:
    """Finds lines with a mark that is not at their beginning; the others are passed on.

    Each byte is examined once for each mark.
    """

    def __init__(self, data: bytes, start: int, end: int, tracebacks: bool) -> None:
        self._data = data
        self._start = start
        self._end = end
        self._tracebacks = tracebacks
        self._found: dict[bytes, int] = {}

    def _marks(self) -> "tuple[bytes, ...]":
        data, start, end = self._data, self._start, self._end
        marks: tuple[bytes, ...] = _MARKS
        if data.find(_IN_FOLDS, start, end) >= 0:
            marks += _FOLDS if self._tracebacks else _FOLDED_DUMPS
        if self._tracebacks:
            marks += (_TRACEBACK, _FRAME, _FRAME_IN_JSON)  # a group's title has the first in it
            if data.find(IN_RARE_STARTS[1], start, end) >= 0:
                marks += TRACEBACK_STARTS[2:]
        return marks

    def next_line(self, position: int) -> int:
        """Return where the first such line at ``position`` or later begins; or the end."""
        if not self._found:
            self._found = {mark: self._find(mark, position) for mark in self._marks()}
        for mark, found in self._found.items():
            if found < position:
                self._found[mark] = self._find(mark, position)
        first = min(self._found.values())
        return first if first == self._end else self._line_at(first, position)

    def _line_at(self, place: int, start: int) -> int:
        return self._data.rfind(b"\n", start, place) + 1 or start

    def _find(self, mark: bytes, position: int) -> int:
        data, end = self._data, self._end
        found = data.find(mark, position, end)
        while found >= 0 and mark not in _ANYWHERE:
            if mark == _FRAME:
                stop = data.index(b"\n", found)
                if not self._is_at_beginning(found) and self._is_telling(found, position, stop):
                    break
                found = stop
            elif not self._is_at_beginning(found):
                break
            found = data.find(mark, found + 1, end)
        return end if found < 0 else found

    def _is_at_beginning(self, place: int) -> bool:
        """Return whether a line, or a line that is a group's title, begins at ``place``."""
        if self._data.startswith(_GROUP, max(0, place - _GROUPS_MARGIN)):
            place -= _GROUPS_MARGIN
        return place == self._start or self._data[place - 1] == 10

    def _is_telling(self, frame: int, position: int, stop: int) -> bool:
        """Return whether the frame tells of a syntax error, or something precedes it."""
        if is_syntax_error(self._data[frame:stop]):
            return True
        return self._data.find(b'{"', self._line_at(frame, position), frame) >= 0


class _Held:
    """A line in which something begins at ``column``, perhaps behind a prefix.

    ``behind`` are lines that followed, of other writers if it is one.
    """

    def __init__(self, line: bytes, column: int) -> None:
        self.line = line
        self.column = column
        self.behind: list[bytes] = []


def _common(prefix: bytes, line: bytes) -> bytes:
    """What ``line`` has of ``prefix``, but for the digits, and a blank that it may have lost."""
    size = 0
    for one, other in zip(prefix.translate(_DIGITS), line.translate(_DIGITS)):
        if one != other:
            break
        size += 1
    return prefix[: size + prefix.startswith(b" ", size)]


class _Prefix:
    """What stands before each line of a writer, where times and levels differ."""

    def __init__(self, text: bytes) -> None:
        import re

        self.is_kubelets = text.endswith((b" F ", b" P "))
        # A blank line may have lost the space behind its prefix.
        bare = _pattern(text.rstrip())
        self.pattern = rb"(?:%s)|(?:%s(?=\r?$))" % (_pattern(text), bare)
        self._match = re.compile(self.pattern).match
        self._other: Optional[re.Pattern[bytes]] = None

    def end(self, line: bytes) -> int:
        """Where the text of ``line`` begins; -1 if it has not this prefix."""
        match = self._match(line)
        return -1 if match is None else match.end()

    def run(self, data: bytes, start: int, end: int) -> int:
        """Return where the lines at ``start`` with this prefix end, or a kubelet's partial one.

        Each line is looked at by itself: a repeated pattern of many lines would be tried in
        all of the ways in which each of them matches.
        """
        import re

        if self._other is None:
            partial = rb"(?=[^\n]* P )|" if self.is_kubelets else b""
            self._other = re.compile(rb"(?m)^(?:%s(?!%s))" % (partial, self.pattern))
        other = self._other.search(data, start, end)
        return end if other is None else other.start()

    def removed(self, lines: bytes) -> bytes:
        import re

        return re.sub(rb"(?m)^(?:%s)" % self.pattern, b"", lines)


class _Stream:
    """The lines of one writer, without their prefix, if they have one."""

    def __init__(self, prefix: "Optional[_Prefix]", splitter: "Log | Splitter") -> None:
        self.splitter = splitter
        self.lines: list[bytes] = []
        self._prefix = prefix
        self._taken = 0

    def take_run(self, data: bytes, start: int, end: int) -> int:
        """Take the lines at ``start`` that have the prefix; return where another begins."""
        if self._prefix is None or self._taken < _FEW_LINES:
            return start
        stop = self._prefix.run(data, start, end)
        if data.count(b"\n", start, stop) < _FEW_LINES:
            self._taken = 0
            return start
        text = self._prefix.removed(data[start:stop]).replace(b"\r\n", b"\n")
        self.lines.append(uncoloured(text) if b"\x1b" in text else text)
        return stop

    def take(self, line: bytes) -> bool:
        """Read ``line`` if it has the prefix; return whether it has."""
        end = -1 if self._prefix is None else self._prefix.end(line)
        if self._prefix is None or end < 0:
            return False
        self._taken += 1
        text = line[end:]
        if text.endswith(b"\r\n"):
            text = text[:-2] + b"\n"
        if b"\x1b" in text:
            text = uncoloured(text)
        if self._prefix.is_kubelets and line[:end].endswith(b" P "):
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
        pattern += rb"(?:%s)" % _VARYING[(match.lastindex or 1) - 1]
        position = match.end()
    return pattern + re.escape(prefix[position:])
