"""The program's descendants: which are running, which have died and how, and their last words.

Each activated process announces that it has started, or was forked (see ``_seldom.family``).
From then on a pidfd shows when it ends (pidfd_open(2)), whichever process is its parent. Only
poll(2) signals the end of a process on a pidfd: O_ASYNC has no effect on it, nor on an epoll
descriptor. So a thread waits, and raises the signal that the monitor's loop waits for.
"""

import fcntl
import os
import select
from _thread import start_new_thread
from time import monotonic

from crashenv._monitor import deaths, oom
from crashenv._seldom.family import ROOM, last_words, slot_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator
else:
    import _signal

# pidfd.h (Linux 6.15): the status of a process that was reaped already
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_SIZE = 64
_EXIT_CODE = slice(60, 64)
_STATUS_FIELD, _TIME_FIELD = 52, 14  # of /proc/PID/stat (proc(5)), which a zombie still has
_OF_WORKERS = (
    "from multiprocessing.spawn import",
    "from multiprocessing.forkserver import",
    "from billiard.",
    "from multiprocess.",
)
_OF_LOKY = "loky.backend.popen_loky_posix"
_MOST_MEMBERS = 10_000
_CHUNK = 1 << 16


class Member:
    """A process below the monitor. ``thread`` is its main thread's number, as in a dump."""

    def __init__(self, pid: int, parent: int, thread: str, command: "list[str]") -> None:
        self.pid = pid
        self.parent = parent
        self.thread = thread
        self.command = command
        self.origin = command  # names the program; for a worker, this is its parent's
        self.began = monotonic()
        self.is_fork = False
        self.name = ""  # of a worker of multiprocessing
        self.status: int | None = None  # a wait status; None if it is unknown
        self.is_gone = False  # it was reaped before we had a pidfd for it
        self.times: tuple[float, float] | None = None  # user and system
        self.oom_kills: int | None = None
        self.words = ""

    def is_crash(self) -> bool:
        """Return whether it died in a way that it could not report itself.

        A forked child ends by os._exit(), without any notice. So if the status is unknown,
        only an interpreter that did not announce its end is assumed to have crashed.
        """
        if self.is_gone:
            return True  # if it wrote a dump
        if self.status is None:
            return not self.is_fork
        if not os.WIFSIGNALED(self.status):
            return False
        name = deaths.signal_name(os.WTERMSIG(self.status))
        return name == "SIGKILL" or name in deaths.CORE_SIGNALS


class Family:
    """Announcements are read from ``source``; ``board`` is the memory of the last words.

    The monitor waits for ``program`` itself.
    """

    def __init__(self, source: int, board: int, program: int) -> None:
        self._program = program
        self._origin: list[str] = []  # the command that the program announced
        self._source = source
        self._board = board
        self._rest = b""
        self._members: dict[int, Member] = {}  # by process id
        self._ends: dict[int, int] = {}  # pidfd: process id
        self._reaped: dict[int, int] = {}
        self._gone: list[Member] = []
        self._joined: list[int] = []
        self._epoll: select.epoll | None = None
        self.oom_kills = oom.kills() or 0  # those that are in some member's record

    # --- announcements

    def read(self) -> None:
        """Read what processes have announced."""
        while True:
            try:
                data = os.read(self._source, _CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            if not data:  # no process has it open just now
                return
            self.hear(data)

    def hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_CHUNK:]
        for line in lines:
            try:
                self._take(line)
            except (ValueError, IndexError):  # any process that opens the pipe can write there
                pass

    def _take(self, line: bytes) -> None:
        what, _, rest = line.partition(b" ")
        if what == b"left":
            self._forget(int(rest))
        elif what == b"name":
            worker, _, name = rest.partition(b" ")
            named = self._members.get(int(worker))
            if named is not None:
                named.name = name.decode("utf-8", "replace")
        elif what in (b"join", b"fork"):
            pid, parent, thread, *arguments = rest.split(b" ", 3)
            words = arguments[0].split(b"\0") if arguments else []
            command = [os.fsdecode(word) for word in words if word] or _command(int(pid))
            member = Member(int(pid), int(parent), "0x%016x" % int(thread, 16), command)
            member.is_fork = what == b"fork"
            before = self._members.get(member.parent)
            if member.is_fork and before is not None:
                member.command = before.command
            if member.is_fork or _is_worker(command):
                member.origin = self._origin if before is None else before.origin
            if member.pid == self._program:
                self._origin = command
            if not member.is_fork:
                self._joined.append(member.pid)
            self._add(member)

    def _add(self, member: Member) -> None:
        known = self._members.get(member.pid)
        if known is not None:  # it executed another program
            known.command = member.command or known.command
            known.origin = member.origin
            known.thread, known.is_fork = member.thread, member.is_fork
            return
        if len(self._members) >= _MOST_MEMBERS or member.pid == self._program:
            return
        try:
            pidfd = os.pidfd_open(member.pid)
        except ProcessLookupError:
            member.is_gone = True
            self._gone.append(member)
            return
        except (AttributeError, OSError):  # before Linux 5.3; too many files
            return
        self._members[member.pid] = member
        self._ends[pidfd] = member.pid
        if self._epoll is None:
            self._epoll = select.epoll()
            start_new_thread(_wait, (self._epoll,))
        self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)

    def _forget(self, pid: int) -> None:
        """Forget a process that is about to exit normally."""
        self._gone = [member for member in self._gone if member.pid != pid]
        member = self._members.pop(pid, None)
        for pidfd in [fd for fd, other in self._ends.items() if other == pid]:
            del self._ends[pidfd]
            os.close(pidfd)  # this also removes it from the epoll set (epoll(7))
        if member is not None:
            self._take_words(member)

    # --- ends

    def reaped(self, pid: int, status: int) -> None:
        """Note that a descendant that became our child has ended with this wait status."""
        if pid in self._members:
            self._reaped[pid] = status

    def ended(self) -> "Iterator[Member]":
        """Yield the members that have ended unannounced since the last call."""
        gone, self._gone = self._gone, []
        for member in gone:
            self._take_words(member)
            yield member
        if not self._ends:
            return
        poll = select.poll()
        for pidfd in self._ends:
            poll.register(pidfd, select.POLLIN)
        for pidfd, _ in poll.poll(0):
            pid = self._ends.pop(pidfd)
            member = self._members.pop(pid)
            member.times = _times_of_zombie(pid)
            status = self._reaped.pop(pid, None)
            if status is None:
                status = status_of(pid, pidfd)
            member.status = status
            os.close(pidfd)
            self._take_words(member)
            kills = oom.kills() or 0
            member.oom_kills, self.oom_kills = kills - self.oom_kills, kills
            yield member

    def take_joined(self) -> "list[int]":
        """Return the process ids of the interpreters that have started since the last call."""
        joined, self._joined = self._joined, []
        return joined

    def pids(self) -> "list[int]":
        """Return the process ids of the running members."""
        return list(self._members)

    def words_of_program(self) -> str:
        member = Member(self._program, 0, "", [])
        self._take_words(member)
        return member.words

    def _take_words(self, member: Member) -> None:
        """Read its page of the board, and free the page."""
        size = slot_size()
        try:
            slot = os.pread(self._board, ROOM, member.pid * size)
            if slot[:1] in (b"", b"\0"):
                return
            member.words = last_words(slot)
            from mmap import MADV_REMOVE, mmap

            with mmap(self._board, size, offset=member.pid * size) as page:
                page.madvise(MADV_REMOVE)
        except (ImportError, OSError, ValueError):
            pass


def _is_worker(command: "list[str]") -> bool:
    """Return whether the command is one of multiprocessing or loky."""
    return any(word.startswith(_OF_WORKERS) or word.endswith(_OF_LOKY) for word in command)


def _command(pid: int) -> "list[str]":
    """Return the command of a fork, or of an interpreter that does not know it (before 3.10)."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return [os.fsdecode(word) for word in file.read(_CHUNK).split(b"\0")[:-1]]
    except OSError:
        return []


def _wait(epoll: "select.epoll") -> None:
    """In a separate thread, wake the loop up whenever a process has ended."""
    while True:
        try:
            epoll.poll()
            os.kill(os.getpid(), _signal.SIGIO)
        except (OSError, ValueError):
            return


def status_of(pid: int, pidfd: int) -> "int | None":
    """Return the wait status of a process that has ended; None if it cannot be found out."""
    status = _status_of_zombie(pid)
    return _status_by_pidfd(pidfd) if status is None else status


def _fields_of_zombie(pid: int) -> "list[bytes]":
    """Return /proc/PID/stat from the third field on, if the process has not been reaped yet."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    is_zombie = len(fields) > _STATUS_FIELD - 3 and fields[0] in (b"Z", b"X")
    return fields if is_zombie else []


def _status_of_zombie(pid: int) -> "int | None":
    """Return the wait status; 0 may also mean "not allowed"."""
    fields = _fields_of_zombie(pid)
    return int(fields[_STATUS_FIELD - 3]) if fields else None


def _times_of_zombie(pid: int) -> "tuple[float, float] | None":
    fields = _fields_of_zombie(pid)
    if not fields:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[_TIME_FIELD - 3]) / ticks, int(fields[_TIME_FIELD - 2]) / ticks


def _status_by_pidfd(pidfd: int) -> "int | None":
    info = bytearray(_INFO_SIZE)
    info[:8] = _PIDFD_INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # ENOTTY before Linux 6.13
        return None
    if not int.from_bytes(info[:8], "little") & _PIDFD_INFO_EXIT:
        return None
    return int.from_bytes(info[_EXIT_CODE], "little", signed=True)
