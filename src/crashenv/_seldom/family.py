"""What a process announces to its monitor: its start, its last words, and a normal end.

The setting ``crashfamily`` is ``ARRIVALS:DEV:INO:BOARD:DEV:INO``. Both are paths below
``/proc/PID/fd`` of the monitor, and are used only if they are those very files.

*Arrivals* is a pipe of lines, each written at once (at most PIPE_BUF bytes, pipe(7))::

    join PID PPID THREAD [ARGUMENT NUL]...   an interpreter has started
    fork PID PPID THREAD                     a process was forked from one
    name PID NAME                            the name of a multiprocessing worker
    left PID                                 it is about to exit normally

``THREAD`` is the main thread's number in hexadecimal, as in a native dump. The *board* is
a sparse memfd with a slot of ``slot_size()`` bytes for each process id. The first ``ROOM``
bytes of a slot hold the last words (see ``last_words``). Shared memory survives SIGKILL.

The process ids are those of the monitor's ``/proc``: in another PID namespace with its own
``/proc``, the paths lead to other files. No descriptor stays open, because a program
may close or reuse any number.
"""

import os
import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

    Place = tuple[str, int, int]

ROOM = 4096  # bytes of last words
_LONGEST_ARGUMENTS = 2048  # bytes, so that a line has less than PIPE_BUF
_LONGEST_NAME = 200

_arrivals: "Place | None" = None
_board: "Place | None" = None
_slot: "mmap | None" = None
_position = 0
_is_noting = False


def join(value: str) -> None:
    """Announce that an interpreter has started with ``value`` as its setting. Raise nothing."""
    global _arrivals, _board
    parts = value.split(":")
    if len(parts) != 6:
        return
    try:
        _arrivals = parts[0], int(parts[1]), int(parts[2])
        _board = parts[3], int(parts[4]), int(parts[5])
    except ValueError:
        return
    arguments = "\0".join(getattr(sys, "orig_argv", ()))  # from 3.10 on
    said = os.fsencode(arguments)[:_LONGEST_ARGUMENTS].replace(b"\n", b" ")
    _tell(b"join %s %d %x %s\n", os.getppid(), get_ident(), said)


def forked() -> None:
    """Announce a new process, which has its parent's memory. Raise nothing."""
    global _slot, _position, _is_noting
    _slot = None
    _position = 0
    _is_noting = False
    _tell(b"fork %s %d %x\n", os.getppid(), get_ident())


def named(name: str) -> None:
    """Announce the name of this multiprocessing worker. Raise nothing."""
    said = name.encode("utf-8", "backslashreplace")[:_LONGEST_NAME]
    _tell(b"name %s %s\n", said.replace(b"\n", b" "))


def leave() -> None:
    """Announce that the process is about to exit normally. Raise nothing."""
    _tell(b"left %s\n")


def _tell(line: bytes, *values: "int | bytes") -> None:
    if _arrivals is None:
        return
    try:
        fd = _open(_arrivals, os.O_WRONLY)
        try:
            os.write(fd, line % (_process_id(), *values))
        finally:
            os.close(fd)
    except (OSError, MemoryError):  # the monitor has gone, or is another user's; a full pipe
        pass


def _open(place: "Place", flags: int) -> int:
    """Open the file. Raise OSError, also if it is another file."""
    path, device, inode = place
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) != (device, inode):
        os.close(fd)
        raise OSError
    return fd


def _process_id() -> bytes:
    """Return our process id in the monitor's /proc, which was just opened."""
    return os.readlink(b"/proc/self")


# --- last words


def note(text: str) -> None:
    """Keep ``text`` as a line of the last 4 KiB, which outlive this process.

    The monitor's record has them if the process is killed by a signal, even SIGKILL. Without
    a monitor, or if its memory cannot be opened, this does nothing. Raises TypeError.
    """
    global _slot, _board, _position, _is_noting
    if not isinstance(text, str):
        raise TypeError("a note must be a str")
    if _board is None or _is_noting:
        return
    _is_noting = True  # a signal handler may interrupt this, and call it too
    try:
        if _slot is None:
            _slot = _map(_board)
        line = text.encode("utf-8", "backslashreplace")[: ROOM - 2]
        if b"\0" in line or b"\n" in line:
            line = line.replace(b"\0", b" ").replace(b"\n", b" ")
        if _position + len(line) + 2 > ROOM:
            _position = 0
        end = _position + len(line) + 2
        _slot[_position:end] = line + b"\n\0"
        _position = end - 1
    except (OSError, ValueError, ImportError, MemoryError):  # do not try again
        _board = None
    finally:
        _is_noting = False


def _map(board: "Place") -> "mmap":
    """Map this process's slot, and clear what an earlier process with its id left there."""
    from mmap import mmap

    fd = _open(board, os.O_RDWR)
    try:
        size = slot_size()
        slot = mmap(fd, size, offset=int(_process_id()) * size)
    finally:
        os.close(fd)
    slot[:ROOM] = bytes(ROOM)
    return slot


def slot_size() -> int:
    """Return the size of the board's slot for a process id: a page, which can be mapped."""
    return max(ROOM, os.sysconf("SC_PAGE_SIZE"))


def last_words(slot: bytes) -> str:
    """Return the lines in the first ``ROOM`` bytes of a slot, the oldest first.

    Lines are written one after the other, each followed by a NUL that the next one
    overwrites. A line that does not fit is written at the beginning again. So the newest line
    ends at the first NUL. Between it and the second NUL is the rest of the round before,
    which begins in the middle of a line.
    """
    newest, _, rest = slot.partition(b"\0")
    before = rest.partition(b"\0")[0].partition(b"\n")[2]
    return (before + newest).decode("utf-8", "backslashreplace")
