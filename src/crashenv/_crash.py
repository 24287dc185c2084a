"""What happens at a crash, the small first half: an ordinary exception of the main thread.

It is executed after ``_wire`` in a namespace that belongs to no module, with ``state`` from
the start, and with the functions that were taken there: it imports nothing. All else, and all
that this one is not sure of, is done by ``_crash_rare``, which is executed in the same
namespace when it is needed. Executing the whole at each crash would take half of the time
from the exception to the exit.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from _thread import _count, allocate_lock, get_native_id
    from os import F_TLOCK, F_ULOCK, fstat, getpid, lockf, lseek, write
    from time import time_ns
    from types import TracebackType
    from typing import Any

    from crashenv._wire import header, timestamp

    state: Any = None  # of the start

# What threads that crash at once share. Each may execute this, so the first one counts.
for name, value in (
    ("lock", allocate_lock()),  # of writing, and of the output
    ("guard", allocate_lock()),  # of taps, the streams that are read along
    ("taps", {}),
    ("reported", 0),  # id() of the exception that was reported
    ("stored", 0),  # of one that is no crash
    ("progress", 0),
    ("forking", 0),
    ("may_import", True),
    ("awaits_forks", False),
):
    vars(state).setdefault(name, value)
# The modules whose frames an uncaught exception of the main thread starts in.
OUTERMOST = ("__main__", "runpy")
IS_WHOLE = header, timestamp  # or NameError: a full disk left the file before this one empty
LAST = "last_exc" if sys.version_info >= (3, 12) else "last_value"
NOT_CRASHES = (SystemExit, KeyboardInterrupt)
# Where there is no memory, the interpreter prints pieces past sys.stderr.
NOT_PLAIN = (*NOT_CRASHES, MemoryError)
SMALL_LIMIT = 200  # of recursion, from which our own frames would take a noticeable part
MOST_TEXT = 1 << 14  # characters of a message that is copied as a whole
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was not written in C


def excepthook(
    original: "Any",
    kind: "type[BaseException]",
    value: "BaseException",
    traceback: "TracebackType | None",
) -> None:
    """For ``sys.excepthook``: have ``original`` print the exception, and report it.

    Where no ``__str__`` of the program's runs and no other thread prints, what is printed
    is collected by a method of C and written at once; elsewhere it is copied piece by piece.
    """
    try:
        stream: Any = sys.stderr
        output = state.output
        is_plain = (
            not _count()
            and not kind.__flags__ & HEAP_TYPE
            and not issubclass(kind, NOT_PLAIN)
            and value is getattr(sys, LAST, None)
            and value.__context__ is value.__cause__ is None
            and value.args.__class__ is tuple
            and all(arg.__class__ is str and len(arg) < MOST_TEXT for arg in value.args)
            and "__notes__" not in value.__dict__
            and type(stream).__module__ == "_io"
            and "write" not in (attributes := stream.__dict__)
            # What cannot be encoded is lost with all that is written at once.
            and stream.errors == "backslashreplace"
            # From 3.13 on the original does not flush.
            and (stream.line_buffering or stream.write_through)
            and not stream.closed
            and not hasattr(sys, "ps1")
            and sys._getframe(1).f_back is None
            and traceback is not None
            and traceback.tb_frame.f_globals.get("__name__") in OUTERMOST
            and output.is_plain
            and sys.getrecursionlimit() >= SMALL_LIMIT
            and id(value) != state.reported
        )
    except BaseException:  # stderr is None, a hostile value, an audit hook that raises
        is_plain = False
    if not is_plain:
        try:
            full = rest()["excepthook"]
        except BaseException:  # no memory, builtins that are gone
            full = None
        if full is None:
            state.least(state, "excepthook", value)
            original(kind, value, traceback)
        else:
            full(original, kind, value, traceback)
        return
    state.reported = id(value)
    parts: list[str] = []
    attributes["write"] = parts.append
    try:
        original(kind, value, traceback)
    finally:
        del attributes["write"]
        text = "".join(parts)
        try:
            stream.write(text)
            stream.flush()
        except BaseException:  # which the original swallows as well
            pass
    try:
        if "\033[" in text:
            rest()["report"]("exception", value, parts)
            return
        fields = describe("exception", "MainThread", output)
        if len(text) > output.limit // 2:
            rest()["report"]("exception", value, parts)
            return
        fields.append(("message", str(message_lines(parts, kind.__name__))))
        body = text.encode("utf-8", "backslashreplace")
        data = header([*fields, *output.tags], len(body)) + body
        written = write_at_once(output, data)
        if written < len(data):
            rest()["deliver"](output, data[written:])
    except BaseException:
        try:
            rest()["report"]("exception", value, parts)
        except BaseException:  # no memory
            state.least(state, "excepthook", value)


def rest() -> "dict[str, Any]":
    """The namespace, with the second half in it. May raise what an audit hook raises."""
    names, code = globals(), state.hold["_crash_rare"]
    if "report" not in names:
        state.exec(state.loads(code[16:]) if code.__class__ is bytes else code, names)
    return names if names["is_open"] else {}  # its last; KeyError if the file was cut off


def describe(kind: str, thread: str, output: "Any") -> "list[tuple[str, str]]":
    return [
        ("kind", kind),
        ("pid", str(getpid())),
        ("tid", str(get_native_id())),
        ("thread", thread),
        ("time", timestamp(time_ns())),
        ("python", sys.version.partition(" ")[0]),
        ("program", program(output)),
    ]


def program(output: "Any") -> str:
    """The file that ``__main__`` was loaded from, else ``sys.argv[0]``.

    The interpreter deletes ``__main__.__file__`` at the program's end; from 3.13.1 or so on
    it does so before it prints the exception.
    """
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if type(name) is str:
        return name
    name = (getattr(sys, "argv", None) or [""])[0]
    if type(name) is not str:
        return ""
    is_relative = name and name[0] not in "-/" and output.directory
    return output.directory + "/" + name if is_relative else name


def message_lines(parts: "list[str]", kind: str) -> int:
    """How many lines the message has; 0 if that cannot be told.

    Up to 3.12 the interpreter writes the type, ": " and the message one by one, from
    3.13 on, as ``traceback`` always does, the three at once.
    """
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if index and parts[index - 1] == ": ":
            return part.count("\n") + 1
        first = part.partition(":")[0].rstrip()
        if first.endswith(kind) and "\n" not in first:
            return max(1, part.count("\n"))
    return 0


def write_at_once(output: "Any", data: bytes) -> int:
    """How much could be written without waiting for a reader, or for others who report.

    The record lock, see ``lock_record``, is kept unless that is all.
    """
    status = fstat(output.fd)
    if (status[2], status[1]) != output.identity or len(data) > output.limit:
        return 0
    if sys.modules["_signal"].getsignal(13) != 1:  # SIGPIPE, SIG_IGN: what would end it
        return 0
    try:
        lockf(output.fd, F_TLOCK, 0)
        written = write(output.fd, data)
    except OSError:
        return 0
    if written == len(data):
        unlock_record(output.fd)
    return written


def unlock_record(descriptor: int) -> None:
    """Unlock behind the position, which writing has moved, and before it."""
    try:
        lockf(descriptor, F_ULOCK, 0)
        lockf(descriptor, F_ULOCK, -lseek(descriptor, 0, 1))
    except OSError:  # a pipe has no position (ESPIPE)
        pass
