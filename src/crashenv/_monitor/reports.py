"""The reports from the program's pipe: stored, printed in one line, passed to the receivers."""

import os
import select
from time import monotonic, time_ns

from crashenv import _store
from crashenv._monitor import deaths, ntstatus, printable, resource, say
from crashenv._reading import build, dumps
from crashenv._reading.encode import to_json
from crashenv._reading.frames import Splitter
from crashenv._wire import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from crashenv._monitor import Options
    from crashenv._monitor.family import Member
    from crashenv._monitor.jobs import Ended
    from crashenv._monitor.receivers import Receivers
    from crashenv._reading.frames import Frame
    from crashenv.records import Ending, Record

_QUIET = 0.5  # seconds without a byte, after which a dump is complete
# The most that waits to be stored in a flood of reports; the pipe is still read.
_MOST_WAITING = 1000
_MOST_BYTES = 4 << 20
_MOST_UNCLAIMED = 100
_PATIENCE = 100  # milliseconds for an earlier crash output
_ATOMIC = 4096  # bytes that are written to a pipe in one piece (PIPE_BUF, pipe(7))


class Reports:
    """``pid`` is the program's; ``last_byte`` is the monotonic time of its last write.

    Without ``believes_dumps``, a dump counts only with a death that it matches.
    """

    def __init__(
        self,
        options: "Options",
        pid: int,
        receivers: "Receivers | None",
        believes_dumps: bool = True,
    ) -> None:
        self.last_byte = monotonic()
        self._options = options
        self._pid = pid
        self._splitter = Splitter()
        self._is_flushed = False
        self._waiting: list[Frame] = []
        self._waiting_bytes = 0
        self._believes_dumps = believes_dumps
        # Dumps, which do not name their process, and until when a death may claim them.
        self._unclaimed: list[tuple[float, Frame]] = []
        self._lost = self._lost_before = 0
        # The program's newest record, which gets its ending.
        self._newest: tuple[str, Record] | None = None
        folder = options.store or _store.default_folder()
        self._store = _store.Store(folder, options.most_records, options.most_bytes)
        self._receivers = receivers

    # --- while the program runs

    def feed(self, data: bytes) -> None:
        """Process bytes that the program wrote."""
        if self._options.earlier is not None:
            self._forward(data)
        self.last_byte = monotonic()
        self._is_flushed = False
        try:
            self._queue(self._splitter.feed(data))
        except MemoryError:  # the incomplete report uses most of it
            say("no memory for a report")
            self._splitter = Splitter()

    def _forward(self, data: bytes) -> None:
        """Write to the crash output that was set before, as far as it soon has room."""
        try:
            fd = self._options.earlier
            if isinstance(fd, str):
                from crashenv._seldom import crashfile

                path = crashfile.expand_pid(crashfile.expand(fd), self._pid)
                fd = self._options.earlier = crashfile.open_file(path)
            view = memoryview(data)
            if os.name == "nt":  # it is in a mode in which writes do not wait
                from crashenv._seldom import windows

                while view:
                    view = view[windows.write(fd or 0, view) :]
                return
            poll = select.poll()
            poll.register(fd or 0, select.POLLOUT)
            while view and poll.poll(_PATIENCE):
                view = view[os.write(fd or 0, view[:_ATOMIC]) :]
        except BlockingIOError:
            pass
        except (OSError, ValueError) as error:  # its reader has gone, or it cannot be opened
            self._options.earlier = None
            say("cannot write to the earlier crash output: %s" % error)

    def _queue(self, frames: "list[Frame]") -> None:
        for frame in frames:
            if frame.raw.startswith(ntstatus.DUMPS) and not self._believes_dumps:
                del self._unclaimed[: 1 - _MOST_UNCLAIMED]
                self._unclaimed.append((0, frame))
            elif frame.kind == "dump" and len(self._unclaimed) < _MOST_UNCLAIMED:
                self._unclaimed.append((monotonic() + _QUIET, frame))
            elif len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_BYTES:
                self._lost += 1
            else:
                self._waiting.append(frame)
                self._waiting_bytes += len(frame.raw)

    def timeouts(self) -> "list[float]":
        """Return in how many seconds ``work``, or ``flush``, has something to do."""
        found: list[float] = [0] if self._waiting else []
        now = monotonic()
        if self._unclaimed and self._believes_dumps:
            found.append(max(0, self._unclaimed[0][0] - now))
        if not self._is_flushed:
            found.append(self.last_byte + _QUIET - now)
        return found

    def work(self) -> None:
        """Store one report."""
        if self._believes_dumps and self._unclaimed and self._unclaimed[0][0] <= monotonic():
            self._waiting.append(self._unclaimed.pop(0)[1])
        if self._waiting:
            frame = self._waiting.pop(0)
            self._waiting_bytes = max(0, self._waiting_bytes - len(frame.raw))
            try:
                self._keep(build.record(frame))
            except Exception as error:  # this must not cost the program its parent
                say("cannot store a report: %r" % error)

    def is_quiet(self) -> bool:
        return not self._is_flushed and monotonic() - self.last_byte >= _QUIET

    def flush(self, is_early: bool) -> None:
        """Treat a dump as complete; if its process is about to end, wait for the end instead."""
        if is_early:
            self.last_byte = monotonic()
        else:
            self._is_flushed = True
            self._queue(self._splitter.flush())

    # --- when it has ended

    def program_ended(self, ending: "Ending", stderr: "bytes | None", words: str = "") -> None:
        """Store its last reports, and its death if that was a crash."""
        self._is_flushed = True
        self._queue(self._splitter.flush())
        dump = None
        if not self._believes_dumps:
            dump = self._claim_by_status(ending["status"])
        elif deaths.is_core_signal(ending):
            dump = self._claim(b"")
        if dump is None and not deaths.is_crash(ending, stderr):
            self._keep_waiting()
            self._add_ending(ending)
            return
        self._keep_waiting()
        record = self._death(ending, stderr, dump)
        if words:
            record["last_words"] = words
        self._keep(record)

    def _death(self, ending: "Ending", stderr: "bytes | None", dump: "Frame | None") -> "Record":
        text, reason = (dump.raw, "") if dump else deaths.fatal_error(stderr)
        record = build.death(
            self._pid,
            timestamp(time_ns()),
            deaths.program(self._options.command),
            deaths.text(ending, reason, text),
        )
        record["ending"] = ending
        if stderr is not None:
            record["stderr"] = stderr.decode("utf-8", "backslashreplace")
        return record

    def member_ended(self, member: "Member") -> None:
        """Store a descendant's death, with its own dump if it wrote one."""
        run_time = monotonic() - member.began
        ending = deaths.ending_of_member(member.status, run_time, member.oom_kills, member.times)
        dump = None
        if deaths.is_core_signal(ending) or member.is_gone:
            self._queue(self._splitter.flush())
            dump = self._claim(member.thread.encode())
        if member.is_gone and dump is None:  # how it ended is unknown
            return
        raw = dump.raw if dump else b""
        if member.is_gone:
            parsed = dumps.parse(raw.decode("utf-8", "backslashreplace").split("\n"))
            ending["signal"] = parsed["signal"]
        self._keep_member(member, ending, raw)

    def process_ended(self, process: "Ended", ending: "Ending") -> None:
        """The same for a process of which only the ending is known."""
        self._queue(self._splitter.flush())
        dump = self._claim_by_status(ending["status"])
        if dump is not None or deaths.is_crash(ending, None):
            self._keep_member(process, ending, dump.raw if dump else b"")

    def _keep_member(self, member: "Union[Member, Ended]", ending: "Ending", dump: bytes) -> None:
        record = build.death(
            member.pid,
            timestamp(time_ns()),
            deaths.program(member.origin or self._options.command),
            deaths.text_of_member(ending, member.pid, member.parent, dump),
        )
        record["ending"], record["command"] = ending, member.command or self._options.command
        record["parent"], record["process"] = member.parent, member.name or None
        if member.words:
            record["last_words"] = member.words
        self._keep(record)

    def _claim_by_status(self, status: "int | None") -> "Frame | None":
        """Return the newest dump that matches ``status``."""
        found = [item for item in self._unclaimed if ntstatus.belongs(item[1].raw, status)]
        if not found:
            return None
        self._unclaimed.remove(found[-1])
        return found[-1][1]

    def _claim(self, thread: bytes) -> "Frame | None":
        """Return the newest dump that contains ``thread``."""
        found = [item for item in self._unclaimed if thread in item[1].raw]
        if not found:
            return None
        self._unclaimed.remove(found[-1])
        return found[-1][1]

    def finish(self) -> None:
        """Store what is left, and say what was lost."""
        self._is_flushed = True
        self._queue(self._splitter.close())
        self._keep_waiting()
        if self._lost:
            say("%d reports came too fast and were left out" % self._lost)
        if self._splitter.skipped:
            say("%d bytes in the pipe were not reports" % self._splitter.skipped)

    # --- one record

    def _keep_waiting(self) -> None:
        if self._believes_dumps:
            self._waiting += [frame for _, frame in self._unclaimed]
            self._unclaimed = []
        while self._waiting:
            self.work()

    def _keep(self, record: "Record") -> None:
        record["time"] = record["time"] or timestamp(time_ns())
        record.setdefault("command", self._options.command)
        if record["program"] is None:  # a dump has no header
            record["program"] = deaths.program(self._options.command)
        resource.add(record)
        if self._lost != self._lost_before:
            record["lost"] = self._lost - self._lost_before
            self._lost_before = self._lost
        content = _json(record)
        path = self._write(record, content)
        if path and record["pid"] == self._pid:
            self._newest = path, record
        if not self._options.quiet:
            self._tell(record, path)
        if self._receivers is not None:
            self._receivers.take(record, content, path)

    def _write(self, record: "Record", content: bytes) -> str:
        try:
            return self._store.add(record["id"], content)
        except OSError as error:
            say("cannot store a report: %s" % error)
            return ""

    def _add_ending(self, ending: "Ending") -> None:
        if self._newest is None:
            return
        path, record = self._newest
        record["ending"] = ending
        try:
            self._store.replace(path, _json(record))
        except OSError as error:
            say("cannot store an ending: %s" % error)

    def _tell(self, record: "Record", path: str) -> None:
        place = ", ".join(filter(None, [_thread(record), record["where"]]))
        text = printable(record["summary"]) + (" (%s)" % printable(place) if place else "")
        if path:
            folder = " --store " + printable(self._options.store) if self._options.store else ""
            text += "; crashenv show%s %s" % (folder, record["id"][:8])
        say(text)


def _thread(record: "Record") -> str:
    if record["kind"] == "exception":
        return "main thread"
    if record["kind"] in ("thread", "process"):
        return "%s %s" % (record["kind"], record["process"] or record["thread"])
    process = "pid %d" % record["pid"] if record["pid"] else ""
    return ", ".join(filter(None, [record["process"], process]))


def _json(record: "Record") -> bytes:
    return to_json(record).encode() + b"\n"
