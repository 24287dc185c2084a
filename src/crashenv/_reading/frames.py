"""Bytes of a crash output -> frames, of any stream: ours, a log, or nothing of ours at all.

A *report* is a header line and as many bytes as it announces (see ``_wire``). If
these end with a newline, the report is intact and nothing inside is looked at, so
that no message can forge or hide one. If they do not, or the stream ends before,
something cut it: its writer ran out of time, or bytes were lost. Then the next
header may stand anywhere in what it announced, in the middle of a line too.

By chance, what a cut report announces may end after a newline in the middle of a
later one. That is believed if what follows is no header, no dump and not the end,
and if a header inside is that of a report which reaches beyond, over no other
header, and that looks like a report in two of these: where it begins, where the
first one is to end, where it ends itself. Or if a line of a stack follows.

A *dump* is what ``faulthandler`` wrote outside any report. All else is skipped and
counted. The time is linear in the bytes, the memory bounded by two of the largest
reports.
"""

from crashenv._wire import OMISSION, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# A header that announces more is not believed until its end has come: headers in it
# count, and the middle is dropped. Four times the default crashlimit.
LARGEST = 1 << 22
_LONGEST_HEADER = 1 << 14
_LONGEST_NUMBER = 20  # digits
_LONGEST_LINE = 1 << 16  # of a dump
_LARGEST_DUMP = 1 << 20
_MOST_INNER = 8  # headers inside a report that are looked at
_SUSPECT = 1 << 16  # bytes behind a report that was cut or damaged

_START = PREFIX + b" "
_LIKELY_START = _START + b"kind="
_FATAL = b"Fatal Python error: "
_REASONS = (_FATAL, b"Windows fatal exception: ", b"Timeout (")
_STACKS = (b"Current thread 0x", b"Thread 0x", b"Stack (most recent call first")
_STACK_MARK = b"(most recent call first"
_DUMP_STARTS = _REASONS + _STACKS
_STARTS = (_START, *_DUMP_STARTS)
_LONGEST_START = max(map(len, _STARTS))
_IN_DUMP = (*_STACKS, b"  ", b"<", b"Current thread's C stack", b"Extension modules: ", b"Python ")
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


class Frame:
    """A report or a dump, as it stood in the stream.

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
    """Takes a stream in pieces of any size, gives its frames as soon as they are complete.

    The frames do not depend on the pieces. ``skipped`` counts the bytes that
    belong to none.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._buffer = bytearray()
        self._wanted = 0  # with fewer bytes in the buffer there is nothing to tell
        self._at_line_start = True
        self._was_cut = False  # the line in which we are, before its end
        self._last_chance = False
        self._final = False
        self._frames: list[Frame] = []
        self._dump: _Dump | None = None
        self._large: _Large | None = None
        self._suspect = 0  # before this, a header may stand in the middle of a line
        self._certain = 0  # a header that cuts every report which announces to reach over it

    def feed(self, data: bytes) -> "list[Frame]":
        """The frames that are complete with ``data``."""
        self._buffer += data
        return self._split() if len(self._buffer) >= self._wanted else []

    def flush(self) -> "list[Frame]":
        """The frames that are complete if nothing follows for a while.

        Only a dump, which has no end of its own, and a report that looks as if it
        had been cut wait for what follows.
        """
        self._last_chance = True
        frames = self._split()
        self._last_chance = False
        if self._large is not None and self._large.is_headless:
            self._end_large("damaged")
        self._end_dump()
        return frames + self._taken()

    def close(self) -> "list[Frame]":
        """The rest, at the end of the stream, cut reports too. Then another may begin."""
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
        del self._buffer[:position]
        self._certain = max(0, self._certain - position)
        self._suspect = max(0, self._suspect - position)
        return self._taken()

    def _need(self, position: int, wanted: int = 0) -> "NoReturn":
        raise _NeedMore(position, wanted or len(self._buffer) + 1)

    # --- reports

    def _pass_report(self, start: int) -> int:
        """Take the report at ``start``; return where it ends."""
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
        """Take what it says, and as its body what follows, up to the next header."""
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
        """Where the body of the report at ``start`` begins, and how long it is to be."""
        newline = self._buffer.find(b"\n", start, start + _LONGEST_HEADER)
        if newline < 0:
            return (_UNKNOWN if len(self._buffer) - start < _LONGEST_HEADER else _NONE), 0
        before, _, number = bytes(self._buffer[start:newline]).rpartition(b" bytes=")
        is_number = number.isdigit() and len(number) <= _LONGEST_NUMBER
        # one space in "crashenv: report", and one before each key
        if is_number and before.count(b" ") == before.count(b"=") + 1 and before.isascii():
            return newline + 1, int(number)
        return _NONE, 0

    def _is_intact(self, start: int, body: int, end: int) -> bool:
        """Whether the report that is to end at ``end`` does so (see the module)."""
        buffer = self._buffer
        if buffer[end - 1] != _NEWLINE:
            return False
        inner = buffer.rfind(_START, body, end)
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
            inner = buffer.rfind(_START, body, inner)
            if inner < 0:
                break
        return True

    def _reaches_beyond(self, start: int, inner: int, end: int) -> bool:
        """Whether the header at ``inner`` is that of a report in which ``end`` is by chance."""
        body, announced = self._header(inner)
        inner_end = body + announced
        if body < 0 or announced > LARGEST or inner_end <= end:
            return False
        if self._buffer.find(b"\n" + _START, end - 1, inner_end) >= 0:
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
        """Whether a header or a dump begins at ``position``, or the stream ends."""
        following = bytes(self._buffer[position : position + _LONGEST_START])
        if following.startswith(_STARTS):
            return True
        may_become = any(mark.startswith(following) for mark in _STARTS)
        if may_become and not self._last_chance:
            self._need(start)
        return not following

    def _is_in_body(self, start: int, end: int) -> bool:
        """Whether the line at ``start`` looks like one of a report that ends at ``end``."""
        if self._buffer.startswith(_IN_BODY, start):
            return True
        line = bytes(self._buffer[start : min(end, start + _LONGEST_HEADER)])
        name = line.partition(b": ")[0].rstrip()
        is_last = line.find(b"\n") == end - start - 1
        return is_last and name.replace(b".", b"").replace(b"_", b"").isalnum()

    def _next_start(self, start: int, end: int) -> int:
        """Where, on any column before ``end``, a header or a fatal error begins; or -1."""
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
        """Skip or take the text at ``start``; return where a header may stand, or the end."""
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
            self.skipped += position - start
        search = _Search(self._buffer, stop)
        while position < stop:
            if self._dump is not None:
                position = self._pass_dump(self._dump, position, stop)
            begin = search.next_dump(position)
            self.skipped += begin - position
            position = begin
            if begin < stop:
                self._dump = _Dump()
        self._leave_text(start, stop)
        return stop

    def _undecided(self, start: int) -> int:
        """Where, at the end of the buffer, something begins that only more bytes can tell."""
        stop = len(self._buffer)
        begin = self._buffer.rfind(b"\n", start) + 1 or start
        if begin == stop:
            return stop
        if begin > start or self._at_line_start:
            line = bytes(self._buffer[begin : begin + _LONGEST_START])
            marks = _STARTS + _IN_DUMP
            begun = line.startswith(marks) or any(mark.startswith(line) for mark in marks)
            if begun and stop - begin < _LONGEST_LINE:
                return begin
        for size in range(min(len(_START) - 1, stop - begin), 0, -1):
            if self._buffer.endswith(_START[:size]):
                return stop - size
        return stop

    def _leave_text(self, start: int, stop: int) -> None:
        """Before ``stop`` there was text: does a line begin there, or was one cut?"""
        begin = self._buffer.rfind(b"\n", start, stop) + 1 or start
        if begin > start or self._at_line_start:
            line = bytes(self._buffer[begin:stop])
            self._at_line_start = not line
            self._was_cut = self._dump is not None or _START.startswith(line)

    def _pass_inside_line(self, start: int) -> int:
        """What looks like a header in the middle of a line: is it one, because the line was cut?

        Where nothing else tells that it was cut, it has to be a header that a log's
        line cannot hide a report with: its report reaches over no other. And it has
        to begin or to end as a report does.
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
                and self._buffer.find(b"\n" + _START, body - 1, end) < 0
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

    def _pass_dump(self, dump: "_Dump", position: int, stop: int) -> int:
        """Take the lines of ``dump``; return where it ends, or ``stop``."""
        while position < stop:
            newline = self._buffer.find(b"\n", position, min(stop, position + _LONGEST_LINE))
            end = stop if newline < 0 else newline + 1
            if end - position > _LONGEST_LINE or not dump.add(bytes(self._buffer[position:end])):
                self._end_dump()
                break
            position = end
        return position

    def _end_dump(self) -> None:
        if self._dump is not None:
            self.skipped += self._dump.blank
            if self._dump.is_one:
                self._frames.append(self._dump.frame())
            else:
                self.skipped += self._dump.size
            self._dump = None


class _NeedMore(Exception):
    """What begins at ``position`` cannot be told before ``wanted`` bytes are there."""

    def __init__(self, position: int, wanted: int) -> None:
        super().__init__()
        self.position = position
        self.wanted = wanted


class _Large:
    """A report of which only the beginning and the end are kept.

    Of one without a good header, ``announced`` is where to give up.
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
    """Finds, in the text before ``stop``, the lines that begin a dump, looking once at each."""

    def __init__(self, buffer: bytearray, stop: int) -> None:
        self._buffer = buffer
        self._stop = stop
        self._found = dict.fromkeys(_DUMP_STARTS, -1)

    def next_dump(self, position: int) -> int:
        """The first such line at ``position`` or later; ``stop`` if there is none."""
        if position >= self._stop or self._begins(position):
            return position
        for mark, found in self._found.items():
            while found < position or (found < self._stop and not self._begins(found)):
                # the newline before the line may be the one before position
                after = max(position - 1, found, 0)
                found = self._buffer.find(b"\n" + mark, after, self._stop) + 1 or self._stop
            self._found[mark] = found
        return min(self._found.values())

    def _begins(self, line: int) -> bool:
        if not self._buffer.startswith(_DUMP_STARTS, line):
            return False
        if self._buffer.startswith(_REASONS, line):
            return True
        newline = self._buffer.find(b"\n", line, min(self._stop, line + _LONGEST_HEADER))
        return self._buffer.find(_STACK_MARK, line, self._stop if newline < 0 else newline) >= 0


class _Dump:
    """The lines of one dump. ``blank`` lines at its end belong to it only if more follow."""

    def __init__(self) -> None:
        self.blank = 0
        self.size = 0
        self.is_one = False
        self._head = bytearray()
        self._tail = bytearray()
        self._threads: set[bytes] = set()

    def add(self, line: bytes) -> bool:
        """Whether ``line`` belongs to this dump, to which it has been added then."""
        if line == b"\n":
            self.blank += 1
            return True
        if self.size and not line.startswith(_IN_DUMP):
            return False
        if line.startswith(_STACKS):
            if _STACK_MARK not in line:
                return False
            # faulthandler shows each thread once, and one of them as the current one; a
            # name may follow the number (3.14).
            words = line.split(b" ", 3)
            is_current = words[0] == b"Current"
            shown = {b"" if words[0] == b"Stack" else words[2 if is_current else 1]}
            if is_current:
                shown.add(b"")
            if shown & self._threads:
                return False
            self._threads |= shown
        self.is_one = self.is_one or line.startswith(_STACKS + _REASONS[:2])
        self._keep(b"\n" * self.blank + line)
        self.blank = 0
        return True

    def _keep(self, data: bytes) -> None:
        half = _LARGEST_DUMP // 2
        self.size += len(data)
        if self.size <= half:
            self._head += data
        else:
            self._tail += data
        if len(self._tail) > 2 * half:
            del self._tail[: self._tail.index(b"\n", -half) + 1]

    def frame(self) -> Frame:
        omitted = self.size - len(self._head) - len(self._tail)
        if omitted:
            self._head += OMISSION % omitted
        frame = Frame("dump", bytes(self._head + self._tail))
        frame.omitted = omitted
        return frame


def _decoded(header: bytes) -> "dict[str, str]":
    """The fields of a header line; the later of two that have the same key."""
    fields = {}
    for item in header[len(_START) :].rstrip(b"\n").decode("latin-1").split(" "):
        key, equals, value = item.partition("=")
        if equals:
            fields[key] = _unquoted(value) if "%" in value else value
    return fields


def _unquoted(value: str) -> str:
    """``value`` without its percent-encoding (RFC 3986, section 2.1)."""
    first, *rest = value.encode("latin-1").split(b"%")
    pieces = [first]
    for piece in rest:
        try:
            pieces.append(bytes.fromhex(piece[:2].decode("latin-1")) + piece[2:])
        except ValueError:
            pieces.append(b"%" + piece)
    return b"".join(pieces).decode("utf-8", "backslashreplace")
