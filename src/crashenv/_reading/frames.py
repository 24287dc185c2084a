"""Split bytes into frames. The stream may be a crash output, a log, or anything else.

A *report* is a header line and as many bytes as it announces (see ``_wire``). If
these end with a newline, the report is intact and its content is not examined, so
that no message can forge or hide a report. Otherwise, or if the stream ends earlier,
the report was cut off: its writer ran out of time, or bytes were lost. Then the next
header may be anywhere in the announced bytes, even in the middle of a line.

By chance, the announced bytes of a cut report may end after a newline in the middle of
a later report. This is assumed if they are followed by something other than a header,
a dump or the end, and if they contain the header of a report that extends further,
over no other header, and looks like a report at two of these positions: at its
beginning, at the end of the first one, at its own end. Or if a line of a stack follows.

A *dump* is the output of ``faulthandler`` outside any report; it may contain other lines,
which another process, a progress bar or the interpreter itself wrote meanwhile. A
*traceback* is one in a log without a header; tracebacks are returned on request.
Everything else is skipped and counted. The time is linear in the bytes, the memory is
limited to two of the largest reports.
"""

from bisect import bisect_left, bisect_right

from crashenv._wire import OMISSION, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# A header that announces more is not trusted until its end has arrived: headers in it
# count, and the middle is dropped. This is four times the default crashlimit.
LARGEST = 1 << 22
_LONGEST_HEADER = 1 << 14
_LONGEST_NUMBER = 20  # digits
_LONGEST_LINE = 1 << 16  # of a dump
_LONGEST_BEFORE = 1 << 10  # of a line before a traceback
_LARGEST_DUMP = 1 << 20
_LONG_DUMP = 1 << 14  # from here, importing re pays
_MOST_FORGOTTEN = 1000  # places of headers that are gone from the buffer
_MOST_INNER = 8  # headers inside a report that are looked at
_SUSPECT = 1 << 16  # bytes behind a report that was cut or damaged

_START = PREFIX + b" "
_LIKELY_START = _START + b"kind="
_FATAL = b"Fatal Python error: "
_TIMEOUT = b"Timeout ("
_REASONS = (_FATAL, b"Windows fatal exception: ", _TIMEOUT)
_FATAL_REASONS = _REASONS[:2]  # which a test runner's progress may stand before
_STACKS = (b"Current thread 0x", b"Thread 0x", b"Stack (most recent call first")
_STACK_MARK = b"(most recent call first"
_DUMP_STARTS = _REASONS + _STACKS
_COLOURS = rb"\x1b\[[0-9;?]*[ -/]*[@-~]"
_STARTS = (_START, *_DUMP_STARTS)
_LONGEST_START = max(map(len, _STARTS))
_C_STACK = b"Current thread's C stack"
_IN_DUMP = (*_STACKS, b"  ", b"<", _C_STACK, b"Extension modules: ", b"Python ")
_INDENTED = rb"(?:  [^\n]{0,65000}\n){1,64}"
_MOST_BEFORE_STACK = 200  # lines of others' between a dump's reason and its first stack
_MOST_BETWEEN = 10  # and between two lines of its stacks
_TRACEBACK = b"Traceback (most recent call last):"
_GROUP = b"  + Exception Group Traceback (most recent call last):"
# What a process pool quotes, as multiprocessing's, concurrent.futures' and loky's.
_REMOTE = b"RemoteTraceback: "
_REMOTES = tuple(
    name + _REMOTE
    for name in (
        b"multiprocessing.pool.",
        b"concurrent.futures.process._",
        b"loky.process_executor._",
        b"joblib.externals.loky.process_executor._",
        b"multiprocess.pool.",
    )
)
# Where a traceback in a log begins; the first is the likeliest.
TRACEBACK_STARTS = (_TRACEBACK, _GROUP, *_REMOTES)
IN_RARE_STARTS = (b"  + Exception Group ", _REMOTE)  # one of them is in each of the others
_BODY_STARTS = (
    b"Traceback (most recent call last):\n",
    b"  + Exception Group Traceback (",
    b"Exception in thread ",
    b"Exception ignored in thread ",
    b"Process ",
    b'  File "',
)
# What other lines of a report begin with, and hardly a line of a log.
_IN_BODY = (b"  ", b"Traceback (most recent", b"The above exception", b"During handling of")
_FRAME_LINE = b'  File "'
_NEWLINE = 10
_NONE = -1  # there is no header
_UNKNOWN = -2  # there may be one when more has come


def uncoloured(line: bytes) -> bytes:
    import re

    return re.sub(_COLOURS, b"", line)


def is_syntax_error(line: bytes) -> bool:
    """Whether it tells where one is, as it does alone if the program itself has one."""
    line = uncoloured(line) if b"\x1b" in line else line
    return line.startswith(_FRAME_LINE) and line.rpartition(b'", line ')[2].strip().isdigit()


def next_syntax_error(data: "bytes | bytearray", mark: bytes, start: int, end: int) -> int:
    """Return where ``mark``, a frame's beginning, tells where one is; -1 if nowhere.

    Only the first ``mark`` of a line counts, so that each byte is examined once.
    """
    size = len(mark) - len(_FRAME_LINE)
    found = data.find(mark, start, end)
    while found >= 0:
        newline = data.find(b"\n", found + size, end)
        stop = end if newline < 0 else newline
        if is_syntax_error(bytes(data[found + size : stop])):
            return found
        found = data.find(mark, stop, end)
    return -1


class Frame:
    """A report or a dump, as it was in the stream.

    ``kind`` is ``"report"`` or ``"dump"``; ``fields`` is the header, decoded;
    ``raw`` is all bytes, ``body`` those without the header. ``damage`` is None,
    ``"truncated"`` (the end is missing) or ``"damaged"`` (the length or the header
    is wrong). ``omitted`` bytes were dropped here, the writer's omissions apart.
    """

    __slots__ = ("_body_start", "damage", "fields", "kind", "omitted", "raw")

    def __init__(
        self, kind: str, raw: bytes, header: bytes = b"", damage: "str | None" = None
    ) -> None:
        self.kind = kind
        self.raw = raw
        self.fields = _decoded(header)
        self.damage = damage
        self.omitted = 0
        self._body_start = len(header)

    @property
    def body(self) -> bytes:
        return self.raw[self._body_start :]


class Splitter:
    """Accepts a stream in pieces of any size, returns its frames as soon as they are complete.

    The frames do not depend on the pieces. ``skipped`` counts the bytes that
    belong to no frame. With ``tracebacks``, those without a header are frames too.
    """

    def __init__(self, tracebacks: bool = False) -> None:
        self.skipped = 0
        self._is_with_tracebacks = tracebacks
        self._buffer = bytearray()
        self._wanted = 0  # with fewer bytes in the buffer there is nothing to tell
        self._at_line_start = True
        self._was_cut = False  # the line in which we are, before its end
        self._last_chance = False
        self._final = False
        self._frames: list[Frame] = []
        self._dump: _Dump | _Traceback | None = None
        self._large: _Large | None = None
        self._starts = _Starts(self._buffer)
        self._suspect = 0  # before this, a header may stand in the middle of a line
        self._certain = 0  # a header that cuts every report which announces to reach over it
        self._before = b""  # the last bytes that are gone from the buffer

    def feed(self, data: bytes) -> "list[Frame]":
        """Return the frames that ``data`` completes."""
        self._buffer += data
        return self._split() if len(self._buffer) >= self._wanted else []

    def flush(self) -> "list[Frame]":
        """Return the frames that are complete if nothing follows for a while.

        Only a dump, which has no end mark, and a report that may have been cut off
        wait for more bytes.
        """
        self._last_chance = True
        frames = self._split()
        self._last_chance = False
        if self._large is not None and self._large.is_headless:
            self._end_large("damaged")
        self._end_dump()
        return frames + self._taken()

    def close(self) -> "list[Frame]":
        """Return the rest at the end of the stream, also cut reports. Another may begin then."""
        self._last_chance = self._final = True
        frames = self._split()
        if self._large is not None:
            self._end_large("truncated")
        self._end_dump()
        self._last_chance = self._final = False
        self._at_line_start = True
        self._certain = self._suspect = 0
        return frames + self._taken()

    def _taken(self) -> "list[Frame]":
        frames, self._frames = self._frames, []
        return frames

    def _split(self) -> "list[Frame]":
        position = self._wanted = 0
        try:
            while position < len(self._buffer):
                if self._large is not None:
                    position = self._pass_large(self._large, position)
                elif self._buffer.startswith(_START, position):
                    whole = self._at_line_start
                    take = self._pass_report if whole else self._pass_inside_line
                    position = take(position)
                else:
                    position = self._pass_text(position)
        except _NeedMore as need:
            position = need.position
            self._wanted = need.wanted - position
        if position:
            self._before = bytes(self._buffer[max(0, position - _LONGEST_BEFORE) : position])
        del self._buffer[:position]
        self._starts.forget(position)
        self._certain = max(0, self._certain - position)
        self._suspect = max(0, self._suspect - position)
        return self._taken()

    def _need(self, position: int, wanted: int = 0) -> "NoReturn":
        raise _NeedMore(position, wanted or len(self._buffer) + 1)

    # --- reports

    def _pass_report(self, start: int) -> int:
        """Read the report at ``start``; return where it ends."""
        body, announced = self._header(start)
        if body == _UNKNOWN and not self._final:
            self._need(start)
        self._end_dump()
        if body < 0:
            return self._pass_damaged_header(start)
        if announced > LARGEST:
            self._large = _Large(bytes(self._buffer[start:body]), announced)
            return body
        size, end = len(self._buffer), body + announced
        was_cut = start < self._certain < end
        if end > size and not was_cut and not self._final:
            self._need(start, end)
        if end <= size and not was_cut and self._is_intact(start, body, end):
            self._add_report(start, body, end)
            self._at_line_start = True
            return end
        cut = self._next_start(body, end)
        if cut < 0 and size < end + _LONGEST_START and not self._final:
            self._need(start, end + _LONGEST_START)
        if cut >= 0 and self._header(cut)[0] == _UNKNOWN and not self._final:
            self._need(start)
        stop = min(end, size) if cut < 0 else cut
        is_damaged = cut < 0 and end <= size
        self._add_report(start, body, stop, "damaged" if is_damaged else "truncated")
        self._at_line_start = cut >= 0
        self._suspect = stop + _SUSPECT
        return stop

    def _pass_damaged_header(self, start: int) -> int:
        """Read its values, and as its body everything up to the next header."""
        if not self._buffer.startswith(_LIKELY_START, start):
            self._was_cut = True
            return self._pass_lookalike(start)
        newline = self._buffer.find(b"\n", start, start + _LONGEST_HEADER)
        end = min(len(self._buffer), start + _LONGEST_HEADER) if newline < 0 else newline + 1
        other = self._buffer.find(_START, start + 1, end)
        stop = end if other < 0 else other
        header = bytes(self._buffer[start:stop])
        self._large = _Large(header, _LONGEST_LINE, is_headless=True)
        return stop

    def _header(self, start: int) -> "tuple[int, int]":
        """Return where the body of the report at ``start`` begins, and its announced length."""
        # Another one in the same line: this is none, for no value has a space.
        other = self._buffer.find(_START, start + 1, start + _LONGEST_HEADER)
        stop = start + _LONGEST_HEADER if other < 0 else other
        newline = self._buffer.find(b"\n", start, stop)
        if newline < 0 <= other:
            return _NONE, 0
        if newline < 0:
            return (_UNKNOWN if len(self._buffer) - start < _LONGEST_HEADER else _NONE), 0
        before, _, number = bytes(self._buffer[start:newline]).rpartition(b" bytes=")
        is_number = number.isdigit() and len(number) <= _LONGEST_NUMBER
        # one space in "crashenv: report", and one before each key
        if is_number and before.count(b" ") == before.count(b"=") + 1 and before.isascii():
            return newline + 1, int(number)
        return _NONE, 0

    def _is_intact(self, start: int, body: int, end: int) -> bool:
        """Return whether the report really ends at ``end`` (see the module)."""
        buffer = self._buffer
        if buffer[end - 1] != _NEWLINE:
            return False
        inner = self._starts.last(body, end)
        if inner < 0 or self._is_boundary(start, end):
            return True
        following = bytes(buffer[end : end + len(_FRAME_LINE)])
        if following == _FRAME_LINE:
            return False
        if _FRAME_LINE.startswith(following) and not self._last_chance:
            self._need(start)
        for _ in range(_MOST_INNER):
            if self._reaches_beyond(start, inner, end):
                self._certain = inner
                return False
            inner = self._starts.last(body, inner)
            if inner < 0:
                break
        return True

    def _reaches_beyond(self, start: int, inner: int, end: int) -> bool:
        """Return whether ``end`` is by chance inside the report whose header is at ``inner``."""
        body, announced = self._header(inner)
        inner_end = body + announced
        if body < 0 or announced > LARGEST or inner_end <= end:
            return False
        if self._starts.is_line_between(end, inner_end):
            return False
        if inner_end > len(self._buffer):
            if not self._last_chance:
                self._need(start, inner_end)
            return False
        if self._buffer[inner_end - 1] != _NEWLINE:
            return False
        begins_well = body == end or self._buffer.startswith(_BODY_STARTS, body, inner_end)
        goes_on_well = self._is_in_body(end, inner_end)
        ends_well = self._is_boundary(start, inner_end)
        return begins_well + goes_on_well + ends_well >= 2

    def _is_boundary(self, start: int, position: int) -> bool:
        """Return whether a header or a dump begins at ``position``, or the stream ends."""
        following = bytes(self._buffer[position : position + _LONGEST_START])
        if following.startswith(_STARTS):
            return True
        may_become = any(mark.startswith(following) for mark in _STARTS)
        if may_become and not self._last_chance:
            self._need(start)
        return not following

    def _is_in_body(self, start: int, end: int) -> bool:
        """Return whether the line at ``start`` looks like one of a report that ends at ``end``."""
        if self._buffer.startswith(_IN_BODY, start):
            return True
        line = bytes(self._buffer[start : min(end, start + _LONGEST_HEADER)])
        name = line.partition(b": ")[0].rstrip()
        is_last = line.find(b"\n") == end - start - 1
        return is_last and name.replace(b".", b"").replace(b"_", b"").isalnum()

    def _next_start(self, start: int, end: int) -> int:
        """Return where a header or a fatal error begins, in any column before ``end``; or -1."""
        stop = end + len(_START) - 1
        found = self._buffer.find(_START, start, stop)
        while found >= 0 and self._header(found)[0] == _NONE:
            found = self._buffer.find(_START, found + 1, stop)
        fatal = self._buffer.find(_FATAL, start, (end if found < 0 else found) + len(_FATAL) - 1)
        return found if fatal < 0 else fatal

    def _add_report(self, start: int, body: int, end: int, damage: "str | None" = None) -> None:
        raw = bytes(memoryview(self._buffer)[start:end])
        self._frames.append(Frame("report", raw, raw[: body - start], damage))

    # --- reports that announce more than LARGEST

    def _pass_large(self, large: "_Large", position: int) -> int:
        size = len(self._buffer)
        end = position + large.left
        cut = self._next_start(position, min(end, size))
        stop = min(end, size) if cut < 0 else cut
        ends_here = end <= size and self._buffer[end - 1] == _NEWLINE
        if cut < 0 and not ends_here and not self._final:
            stop = max(position, min(end, size - _LONGEST_START))  # a header may have begun
        large.add(bytes(self._buffer[position:stop]))
        if cut >= 0:
            if self._header(cut)[0] == _UNKNOWN and not self._final:
                self._need(cut)
            self._end_large("truncated")
            self._at_line_start = True
            self._suspect = stop + _SUSPECT
        elif not large.left:
            self._at_line_start = self._buffer[stop - 1] == _NEWLINE
            self._end_large(None if self._at_line_start else "damaged")
            self._suspect = stop + _SUSPECT
        elif stop < size:
            self._need(stop)
        return stop

    def _end_large(self, damage: "str | None") -> None:
        assert self._large is not None
        self._frames.append(self._large.frame("damaged" if self._large.is_headless else damage))
        self._large = None

    # --- text outside reports

    def _pass_text(self, start: int) -> int:
        """Skip or read the text at ``start``; return where a header may be, or the end."""
        found = self._buffer.find(_START, start)
        stop = len(self._buffer) if found < 0 else found
        if found < 0 and not self._final:
            stop = self._undecided(start)
            if stop == start:
                self._need(start)
        position = start
        if not self._at_line_start:
            newline = self._buffer.find(b"\n", start, stop)
            position = stop if newline < 0 else newline + 1
            fatal = self._fatal(start, position)
            if fatal >= 0:
                self._end_dump()
                self._dump = _Dump(at_line_start=False)
                position = fatal
            self.skipped += position - start
        search = _Search(self._buffer, start, stop, self._is_with_tracebacks)
        while position < stop:
            if self._dump is not None:
                position = self._pass_dump(self._dump, position, stop)
            begin = search.last_timeout(search.next_dump(position))
            self.skipped += begin - position
            position = begin
            if begin < stop:
                is_traceback = self._buffer.startswith((*TRACEBACK_STARTS, _FRAME_LINE), begin)
                at_line_start = begin in (0, start) or self._buffer[begin - 1] == _NEWLINE
                if is_traceback:
                    before = self._line_before(begin)
                    self._dump = _Traceback(before)
                    self.skipped -= self._dump.size
                else:
                    self._dump = _Dump(at_line_start)
        self._leave_text(start, stop)
        return stop

    def _line_before(self, position: int) -> bytes:
        text = self._before if position < _LONGEST_BEFORE else b""
        text += bytes(self._buffer[max(0, position - _LONGEST_BEFORE) : position])
        return text.rstrip(b"\r\n").rpartition(b"\n")[2]

    def _undecided(self, start: int) -> int:
        """Return where something begins at the buffer's end that needs more bytes to decide."""
        stop = len(self._buffer)
        begin = self._buffer.rfind(b"\n", start) + 1 or start
        if begin == stop:
            return stop
        if (begin > start or self._at_line_start) and stop - begin < _LONGEST_LINE:
            return begin
        fatal = self._fatal(begin, stop)
        if fatal >= 0 and stop - begin < _LONGEST_LINE:
            return fatal
        for size in range(min(_LONGEST_START, stop - begin), 0, -1):
            end = bytes(self._buffer[stop - size :])
            if any(mark.startswith(end) and mark != end for mark in (_START, *_FATAL_REASONS)):
                return stop - size
        return stop

    def _fatal(self, start: int, stop: int) -> int:
        """Return where the reason of a fatal error begins, in any column; -1 if none does."""
        found = [self._buffer.find(mark, start, stop) for mark in _FATAL_REASONS]
        return min([place for place in found if place >= 0], default=-1)

    def _leave_text(self, start: int, stop: int) -> None:
        """After text before ``stop``, note whether a line begins there, or one was cut."""
        begin = self._buffer.rfind(b"\n", start, stop) + 1 or start
        if begin > start or self._at_line_start:
            line = bytes(self._buffer[begin:stop])
            self._at_line_start = not line
            self._was_cut = self._is_in_dump() or _START.startswith(line)

    def _pass_inside_line(self, start: int) -> int:
        """Decide whether a line was cut, and its rest is a header.

        If nothing else shows that it was cut, it must be a header with which a log's
        line cannot hide a report: its report extends over no other. And it must begin or
        end like a report.
        """
        body, announced = self._header(start)
        end = body + announced
        if body == _UNKNOWN and not self._last_chance:
            self._need(start)
        if start < self._suspect:
            self._was_cut = True
        if body >= 0 and not self._was_cut and announced <= LARGEST:
            if end > len(self._buffer) and not self._last_chance:
                self._need(start, end)
            self._was_cut = (
                end <= len(self._buffer)
                and self._buffer[end - 1] == _NEWLINE
                and (
                    self._buffer.startswith(_BODY_STARTS, body, end)
                    or self._is_boundary(start, end)
                )
                and not self._starts.is_line_between(body, end)
            )
        if body >= 0 and self._was_cut:
            return self._pass_report(start)
        return self._pass_lookalike(start)

    def _pass_lookalike(self, start: int) -> int:
        """Skip what only looks like the beginning of a header."""
        self._end_dump()
        self.skipped += len(_START)
        self._at_line_start = False
        return start + len(_START)

    def _pass_dump(self, dump: "_Dump | _Traceback", position: int, stop: int) -> int:
        """Read the lines of ``dump``; return where it ends, or ``stop``."""
        while position < stop:
            position = dump.add_body(self._buffer, position, stop)
            limit = min(stop, position + _LONGEST_LINE)
            newline = self._buffer.find(b"\n", position, limit)
            end = limit if newline < 0 else newline + 1
            if not dump.add(bytes(self._buffer[position:end])):
                self._end_dump()
                break
            position = self._pass_rest(end, stop) if newline < 0 else end
        return position

    def _pass_rest(self, start: int, stop: int) -> int:
        """Skip the rest of a line that is too long; return where it ends."""
        newline = self._buffer.find(b"\n", start, stop)
        end = stop if newline < 0 else newline + 1
        self.skipped += end - start
        return end

    def _is_in_dump(self) -> bool:
        """Return whether the last line was certainly one of a dump or a traceback."""
        return self._dump is not None and not self._dump.left_over

    def _end_dump(self) -> None:
        if self._dump is not None:
            self._dump.close()
            self.skipped += self._dump.left_over
            if self._dump.is_one:
                self._frames.append(self._dump.frame())
            else:
                self.skipped += self._dump.size
            self._dump = None


class _Starts:
    """The positions in the buffer where a header may begin; each byte is examined only once.

    A search in the announced bytes of each report would take quadratic time.
    """

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._gone = 0  # bytes that were before the buffer; places count from the first
        self._seen = 0
        self._all: list[int] = []
        self._of_lines: list[int] = []

    def forget(self, size: int) -> None:
        """Forget the first ``size`` bytes of the buffer."""
        self._gone += size
        if len(self._all) > _MOST_FORGOTTEN:
            for places in (self._all, self._of_lines):
                del places[: bisect_left(places, self._gone)]

    def last(self, start: int, end: int) -> int:
        """Return the same as the buffer's rfind(_START, start, end)."""
        self._look(end)
        index = bisect_right(self._all, self._gone + end - len(_START)) - 1
        if index < 0 or self._all[index] < self._gone + start:
            return -1
        return self._all[index] - self._gone

    def is_line_between(self, start: int, end: int) -> bool:
        """Return whether a header at the beginning of a line is completely between them."""
        self._look(end)
        index = bisect_left(self._of_lines, self._gone + start)
        last = self._gone + end - len(_START)
        return index < len(self._of_lines) and self._of_lines[index] <= last

    def _look(self, end: int) -> None:
        buffer, gone = self._buffer, self._gone
        end = min(end, len(buffer))
        position = max(0, self._seen - gone)
        while True:
            position = buffer.find(_START, position, end)
            if position < 0:
                break
            self._all.append(gone + position)
            if position and buffer[position - 1] == _NEWLINE:
                self._of_lines.append(gone + position)
            position += 1
        self._seen = max(self._seen, gone + end - len(_START) + 1)


class _NeedMore(Exception):
    """At ``position``, ``wanted`` bytes are needed to decide what begins there."""

    def __init__(self, position: int, wanted: int) -> None:
        super().__init__()
        self.position = position
        self.wanted = wanted


class _Large:
    """A report of which only the beginning and the end are kept.

    Without a valid header, ``announced`` is where to give up.
    """

    def __init__(self, header: bytes, announced: int, is_headless: bool = False) -> None:
        self.left = announced
        self.is_headless = is_headless
        self._header = header
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self.left -= len(data)
        self._size += len(data)
        keep = LARGEST // 2
        room = keep - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * keep:
            del self._tail[:-keep]

    def frame(self, damage: "str | None") -> Frame:
        omitted = max(0, self._size - LARGEST)
        if omitted:
            del self._tail[: -(LARGEST // 2)]
            self._head += OMISSION % omitted
        raw = self._header + bytes(self._head + self._tail)
        frame = Frame("report", raw, self._header, damage)
        frame.omitted = omitted
        return frame


class _Search:
    """Finds where dumps begin in the text before ``stop``, and examines each position once.

    They begin at the beginning of a line; a fatal error also in the middle of one.
    """

    def __init__(self, buffer: bytearray, start: int, stop: int, tracebacks: bool) -> None:
        self._buffer = buffer
        self._stop = stop
        self._starts: tuple[bytes, ...] = _DUMP_STARTS
        if tracebacks:
            has_rare = any(buffer.find(mark, start, stop) >= 0 for mark in IN_RARE_STARTS)
            self._starts += TRACEBACK_STARTS if has_rare else TRACEBACK_STARTS[:1]
            self._starts += (_FRAME_LINE,)
        self._found = dict.fromkeys(self._starts, -1)

    def next_dump(self, position: int) -> int:
        """The first such place at ``position``, a line's, or later; ``stop`` if there is none."""
        if position >= self._stop or self._begins(position):
            return position
        for mark, found in self._found.items():
            anywhere = mark in _FATAL_REASONS
            while found < position or (found < self._stop and not self._begins(found)):
                # the newline before the line may be the one before position
                after = max(position - 1, found, 0)
                if anywhere:
                    found = self._buffer.find(mark, max(position, found + 1), self._stop)
                    found = self._stop if found < 0 else found
                elif mark == _FRAME_LINE:
                    found = next_syntax_error(self._buffer, b"\n" + mark, after, self._stop)
                    found = found + 1 or self._stop
                else:
                    found = self._buffer.find(b"\n" + mark, after, self._stop) + 1 or self._stop
            self._found[mark] = found
        return min(self._found.values())

    def last_timeout(self, place: int) -> int:
        """Pass the lines of timeouts at ``place`` that have no stack, for another follows."""
        buffer, stop = self._buffer, self._stop
        while buffer.startswith(_TIMEOUT, place, stop):
            newline = buffer.find(b"\n", place, stop)
            if newline < 0 or not buffer.startswith(_REASONS, newline + 1, stop):
                break
            place = newline + 1
        return place

    def _begins(self, place: int) -> bool:
        if not self._buffer.startswith(self._starts, place):
            return False
        if self._buffer.startswith(_REASONS + TRACEBACK_STARTS, place):
            return True
        limit = min(self._stop, place + _LONGEST_HEADER)
        newline = self._buffer.find(b"\n", place, limit)
        end = limit if newline < 0 else newline
        if self._buffer.startswith(_FRAME_LINE, place):
            return is_syntax_error(bytes(self._buffer[place:end]))
        return self._buffer.find(_STACK_MARK, place, end) >= 0


class _Text:
    """Lines, of which the middle is dropped if there are too many.

    ``size`` bytes were kept. ``left_over`` bytes of lines are waiting: they belong to it
    if they are followed by a line that certainly does.
    """

    kind = ""

    def __init__(self) -> None:
        self.size = self.left_over = 0
        self.is_one = False
        self._waiting: list[bytes] = []
        self._head = bytearray()
        self._tail = bytearray()

    def _wait(self, line: bytes) -> None:
        self._waiting.append(line)
        self.left_over += len(line)

    def _keep(self, line: bytes) -> None:
        data = b"".join(self._waiting) + line
        self._waiting, self.left_over = [], 0
        half = _LARGEST_DUMP // 2
        self.size += len(data)
        if self.size <= half:
            self._head += data
        else:
            self._tail += data
        if len(self._tail) > 2 * half:
            # A line that is too long is kept without its end.
            del self._tail[: self._tail.find(b"\n", -half) + 1 or -half]

    def add_body(self, buffer: bytearray, start: int, stop: int) -> int:
        """Add lines that need no decision, all at once; return where they end."""
        return start

    def _body(self, lines: bytes, buffer: bytearray, start: int, stop: int) -> bytes:
        """Return the ``lines`` at ``start`` for which there is room, but for the last.

        What may follow depends on the last one, so that add() has to see it.
        """
        import re

        half = _LARGEST_DUMP // 2
        room = half - self.size if self.size < half else 2 * half - len(self._tail)
        body = re.compile(lines).match(buffer, start, min(stop, start + room))
        return (
            bytes(buffer[start : buffer.rfind(b"\n", start, body.end() - 1) + 1]) if body else b""
        )

    def close(self) -> None:
        pass

    def frame(self) -> Frame:
        omitted = self.size - len(self._head) - len(self._tail)
        if omitted:
            self._head += OMISSION % omitted
        frame = Frame(self.kind, bytes(self._head + self._tail))
        frame.omitted = omitted
        return frame


class _Dump(_Text):
    """The lines of one dump."""

    kind = "dump"

    def __init__(self, at_line_start: bool) -> None:
        super().__init__()
        self._at_line_start = at_line_start
        self._others = 0  # lines of others' that wait
        self._has_stack = False
        self._threads: set[bytes] = set()

    def add(self, line: bytes) -> bool:
        """Add ``line`` if it may belong to this dump; return whether it may."""
        if line in (b"\n", b"\r\n"):
            self._wait(line)
            return self.left_over < _LONGEST_LINE
        if self.size and (line.startswith(_REASONS) or any(map(line.count, _FATAL_REASONS))):
            return False
        if self._has_stack and line.startswith(_TRACEBACK):
            return False
        if line.startswith(_STACKS):
            if _STACK_MARK not in line:
                return False
            shown = _threads_in(line)
            if shown & self._threads:
                return False
            self._threads |= shown
            self._has_stack = True
        elif self.size and not (
            _is_frame(line) if self._others and self._has_stack else line.startswith(_IN_DUMP)
        ):
            if self._has_stack or self._others or not _tells_exception(line):
                return self._other(line)
        # A reason alone is one where it begins a line.
        is_reason = self._at_line_start and line.startswith(_FATAL_REASONS)
        self.is_one = self.is_one or self._has_stack or is_reason
        self._others = 0
        self._keep(line)
        return True

    def add_body(self, buffer: bytearray, start: int, stop: int) -> int:
        if self.size < _LONG_DUMP or self.left_over:
            return start
        block = self._body(_INDENTED, buffer, start, stop)
        reasons = [place for place in map(block.find, _FATAL_REASONS) if place >= 0]
        if reasons:
            block = block[: block.rfind(b"\n", 0, min(reasons)) + 1]
        if block:
            self._keep(block)
        return start + len(block)

    def _other(self, line: bytes) -> bool:
        """Handle a foreign line, which belongs to the dump if more of the dump follows."""
        self._others += 1
        self._wait(line)
        return self._others <= (_MOST_BETWEEN if self._has_stack else _MOST_BEFORE_STACK)


def _tells_exception(line: bytes) -> bool:
    """As one that the interpreter names between the reason and the stacks."""
    text = line.rstrip()
    is_type = text.partition(b":")[0].lower().endswith((b"error", b"exception"))
    return is_type or text == _TRACEBACK or text in _CHAIN_LINKS


def _threads_in(line: bytes) -> "set[bytes]":
    """Return what ``faulthandler`` prints only once: each thread, and a current one."""
    words = line.split(b" ", 3)  # a name may follow the number (3.14)
    is_current = words[0] == b"Current"
    shown = {b"" if words[0] == b"Stack" else words[2 if is_current else 1]}
    if is_current:
        shown.add(b"")
    return shown


def _is_frame(line: bytes) -> bool:
    """Return whether it is a frame of a dump: a traceback has a comma before "in"."""
    place = line.partition(b'", line ')[2]
    is_python = line.startswith(_FRAME_LINE) and b" in " in place and b", in " not in place
    return is_python or line.startswith((b"  Binary file", b"  <", b"  ...", *_IN_DUMP[-4:]))


class _Traceback(_Text):
    """The lines of a traceback in a log, and of the tracebacks that are chained to it."""

    kind = "traceback"

    def __init__(self, line_before: bytes) -> None:
        super().__init__()
        # Lambda tells first what was raised.
        self._told = (
            line_before.rpartition(_LAMBDAS_MARK)[2] if _LAMBDAS_MARK in line_before else b""
        )
        if line_before.startswith(_TITLES) and line_before.endswith(b":"):
            self._keep(line_before + b"\n")
        self._repair = _Repair()
        self._has_ended = False  # with the line of its type, or a group's last one
        self._is_linked = False  # to one that is to follow
        self._was_remote = False
        self._is_quoted = False  # another process' traceback, in quotation marks
        self._is_quoting = False  # frames, in its message
        self._is_headless = False  # as of an error in the syntax of the program itself
        self._has_frame = False
        self._is_airy = False  # with an empty line before each frame, as loguru's

    def add(self, line: bytes) -> bool:
        """Add ``line`` if it may belong to it; return whether it may."""
        line = self._repair.line(line)
        text = line.rstrip(b"\r\n")
        is_indented = text.startswith((b" ", b"\t"))
        if not self.size:
            self._is_headless = text.startswith(_FRAME_LINE)
        if self._is_quoted or text == _QUOTATION:
            self._is_quoted = text != _QUOTATION or (self._was_remote and not self._is_quoted)
        elif self._is_linked and text:
            self._has_ended = self._is_linked = False
            return self.add(line)
        elif self._has_ended and (self.left_over or not text or text in _CHAIN_LINKS):
            if text in _CHAIN_LINKS and not self.left_over:  # journald has no empty lines
                line = b"\n" + line + b"\n"
            self._is_linked = self._is_linked or text in _CHAIN_LINKS
            self._wait(line)
            return self._is_linked or self.left_over <= 2
        elif not text:
            self._is_airy = self._is_airy or self._repair.follows_header
            self._wait(line)
            return self._is_airy and self.left_over <= 2
        elif self._has_ended and text.startswith(TRACEBACK_STARTS):
            return False
        elif self._has_ended and is_indented:
            self._is_quoting = self._is_quoting or text.startswith(_FRAME_LINE)
        elif not is_indented and not text.startswith(TRACEBACK_STARTS[:2]):
            if not self._is_type(text) or self._has_ended > self._is_quoting:
                return False
            self._has_ended, self._is_quoting, self.is_one = True, False, True
        elif b"+--" in text and not text.strip(b" +-"):
            self._has_ended = self.is_one = True
        self._was_remote = text.rstrip().endswith(_QUOTES)
        self._has_frame = self._has_frame or text.startswith(_FRAME_LINE)
        self._keep(line)
        return True

    def add_body(self, buffer: bytearray, start: int, stop: int) -> int:
        if not self.size or self.left_over or self._repair.is_needed:
            return start
        if (self._has_ended or self._is_linked) and not self._is_quoted:
            return start
        block = self._body(_IN_QUOTATION if self._is_quoted else _BODY, buffer, start, stop)
        if block:
            self._has_frame = self._has_frame or b"\n" + _FRAME_LINE in b"\n" + block
            self._keep(block)
        return start + len(block)

    def _is_type(self, text: bytes) -> bool:
        """Whether ``text`` may be the line that tells what was raised."""
        if self._is_airy and not self._has_frame:
            return False
        name = text.partition(b":")[0]
        if self._is_headless:
            return name in _SYNTAX_ERRORS
        name = name.replace(b"<locals>", b"").translate(None, b"._()")
        return name.isalnum() or name.decode("utf-8", "replace").isalnum()

    def close(self) -> None:
        """Nothing follows. Where the traceback has no last line, what was told first is it."""
        if self._told and self.size and not self.is_one and self._is_type(self._told):
            self._keep(self._told + b"\n")
            self.is_one = True


class _Repair:
    """Takes away what a terminal, or a copy of what it showed, did to a traceback."""

    def __init__(self) -> None:
        self.follows_header = False
        self._was_header = False
        self._is_padded = False  # to the width of the terminal
        self._is_flat = False  # without the blanks that lines began with
        self._was_place = False

    @property
    def is_needed(self) -> bool:
        return self._is_padded or self._is_flat

    def line(self, line: bytes) -> bytes:
        if b"\x1b" in line:
            line = uncoloured(line)
        is_header = line.startswith(_TRACEBACK)
        if is_header:
            self._is_padded |= line.rstrip(b"\r\n").endswith(b"  ")
        if self._is_padded:
            line = line.rstrip() + b"\n"
        self.follows_header, self._was_header = self._was_header, is_header
        was_place, self._was_place = self._was_place, False
        if line.startswith(_LOGURUS_FRAME):
            return b"  " + line[2:]
        if line.startswith(_FRAME_LINE.lstrip()) and (self.follows_header or self._is_flat):
            self._is_flat = self._was_place = True
            return b"  " + line
        text = line.strip()
        if self._is_flat and text and not is_header:
            is_source = was_place and not text.partition(b":")[0].endswith(_ERROR_NAMES)
            if is_source or not text.strip(b"^~ "):
                return _SOURCE + line
        return line


# Lines in a traceback that neither end it nor need repair.
_BODY = (
    rb"(?:(?: {2,500}[^\s+\-\x1b][^\n\x1b]{0,65000}"
    rb"|Traceback \(most recent call last\):"
    rb"|  \+ Exception Group Traceback \(most recent call last\):)\n)+"
)
_IN_QUOTATION = rb'(?:(?!"""|(?:> )?File "|Traceback )[^\n\x1b]{0,65000}\n)+'
_TITLES = (b"Exception in thread ", b"Process ")
_SYNTAX_ERRORS = (b"SyntaxError", b"IndentationError", b"TabError")
_ERROR_NAMES = (b"Error", b"Exception")
_QUOTES = (b"RemoteTraceback:", b"ExceptionWithTraceback:")  # another traceback: billiard's too
_LAMBDAS_MARK = b"[ERROR] "
_LOGURUS_FRAME = b'> File "'
_SOURCE = b"    "
_QUOTATION = b'"""'
_CHAIN_LINKS = (
    b"The above exception was the direct cause of the following exception:",
    b"During handling of the above exception, another exception occurred:",
)


def _decoded(header: bytes) -> "dict[str, str]":
    """Return the fields of a header line; the later of two with the same key counts."""
    fields = {}
    for item in header[len(_START) :].rstrip(b"\n").decode("latin-1").split(" "):
        key, equals, value = item.partition("=")
        if equals:
            fields[key] = _unquoted(value) if "%" in value else value
    return fields


def _unquoted(value: str) -> str:
    """Return ``value`` without its percent-encoding (RFC 3986, section 2.1)."""
    first, *rest = value.encode("latin-1").split(b"%")
    pieces = [first]
    for piece in rest:
        try:
            pieces.append(bytes.fromhex(piece[:2].decode("latin-1")) + piece[2:])
        except ValueError:
            pieces.append(b"%" + piece)
    return b"".join(pieces).decode("utf-8", "backslashreplace")
