"""The small first half of what happens at a crash: an ordinary exception in the main thread.

This file is executed after ``_wire``, in a namespace that belongs to no module. It has ``state``
and the functions that were taken at the start, and imports nothing. All other cases are handled
by ``_crash_rare``, which is executed in the same namespace if it is needed. To execute both
files at each crash would take half of the time from the exception to the exit. Types are in
comments, because annotations would take 0.3 % of it.
"""

if "":  # for type checkers
    from crashenv._held import *

# The id() of the exception that was reported. Threads may execute this at the same time.
vars(state).setdefault("reported", 0)
# The outermost frame of an uncaught exception in the main thread is in one of these modules.
OUTERMOST = ("__main__", "runpy")
IS_WHOLE = header, timestamp  # raises NameError if _wire.py is empty, after a full disk
LAST = "last_exc" if sys.version_info >= (3, 12) else "last_value"
NOT_CRASHES = (SystemExit, KeyboardInterrupt)
# Where there is no memory, the interpreter prints pieces past sys.stderr.
NOT_PLAIN = (*NOT_CRASHES, MemoryError)
SMALL_LIMIT = 200  # recursion limit; below it, frames of crashenv would make a difference
MOST_TEXT = 1 << 14  # characters of a message that is collected at once
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was not written in C
# Without the class's metaclass.
flags_of = vars(type)["__flags__"].__get__  # type: Any


def excepthook(original, kind, value, traceback):
    # type: (Any, type[BaseException], BaseException, TracebackType | None) -> None
    """Replace ``sys.excepthook``: let ``original`` print the exception, and report it.

    If no ``__str__`` of the program runs and no other thread prints, the text is collected by a
    C method and written at once. Otherwise it is copied while it is printed.
    """
    try:
        stream: Any = sys.stderr
        output = state.output
        is_plain = (
            not _count()
            and not flags_of(kind) & HEAP_TYPE
            and not issubclass(kind, NOT_PLAIN)
            and value is getattr(sys, LAST, None)
            and value.__context__ is value.__cause__ is None
            and value.args.__class__ is tuple
            and {str}.issuperset(map(type, value.args))
            and sum(map(len, value.args)) < MOST_TEXT
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
    # The original imports traceback by the __builtins__ of this frame (PyImport_Import), which
    # are a copy. The program may have replaced __import__.
    names = rest.__globals__
    names["__builtins__"] = state.use.__globals__["__builtins__"]
    try:
        original(kind, value, traceback)
    finally:
        names["__builtins__"] = state.taken["__builtins__"]
        del attributes["write"]
        text = "".join(parts)
        try:
            stream.write(text)
            stream.flush()
        except BaseException:  # the original ignores it, too
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


def rest():
    # type: () -> dict[str, Any]
    """Return the namespace, with the second half in it. It raises what an audit hook raises."""
    names, code = rest.__globals__, state.hold["_crash_rare"]
    if "report" not in names:
        state.exec(state.loads(code[16:]) if code.__class__ is bytes else code, names)
    return names if names["is_open"] else {}  # its last name; KeyError if the file is cut off


def describe(kind, thread, output):
    # type: (str, str, Any) -> list[tuple[str, str]]
    return [
        ("kind", kind),
        ("pid", str(getpid())),
        ("tid", str(get_native_id())),
        ("thread", thread),
        ("time", timestamp(time_ns())),
        ("python", sys.version.partition(" ")[0]),
        ("program", program(output)),
    ]


def program(output):
    # type: (Any) -> str
    # Return the file that __main__ was loaded from, or else sys.argv[0]. The interpreter deletes
    # __main__.__file__ when the program ends; later versions of 3.13 delete it before they
    # print the exception.
    try:
        # Without a function of the program, such as a module's __getattr__ (PEP 562).
        name = sys.modules["__main__"].__dict__["__file__"]
    except (AttributeError, KeyError):
        name = None
    if type(name) is str:
        return name
    name = (getattr(sys, "argv", None) or [""])[0]
    if type(name) is not str:
        return ""
    is_relative = name and name[0] not in "-/" and output.directory
    return output.directory + "/" + name if is_relative else name


def message_lines(parts, kind):
    # type: (list[str], str) -> int
    """Return the number of lines of the message; 0 if it is unknown.

    Up to 3.12 the interpreter writes the type, ": " and the message one by one. From 3.13 on
    it writes the three at once, as ``traceback`` does on all versions.
    """
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if index and parts[index - 1] == ": ":
            return part.count("\n") + 1
        first = part[:MOST_TEXT].partition(":")[0].rstrip()
        if first.endswith(kind) and "\n" not in first:
            return max(1, part.count("\n"))
    return 0


def write_at_once(output, data):
    # type: (Any, bytes) -> int
    """Write without waiting for a reader or for other reports; return the number of bytes.

    The record lock, see ``lock_record``, is released only if everything was written.
    """
    status = fstat(output.fd)
    if (status[2], status[1]) != output.identity or len(data) > output.limit:
        return 0
    if sys.modules["_signal"].getsignal(13) != 1:  # SIGPIPE and SIG_IGN: a write could kill it
        return 0
    try:
        lockf(output.fd, F_TLOCK, 0)
        written = write(output.fd, data)
    except OSError:
        return 0
    if written == len(data):
        unlock_record(output.fd)
    return written


def unlock_record(descriptor):
    # type: (int) -> None
    """Unlock after the file position, which writing has moved, and before it."""
    try:
        lockf(descriptor, F_ULOCK, 0)
        lockf(descriptor, F_ULOCK, -lseek(descriptor, 0, 1))
    except OSError:  # a pipe has no position (ESPIPE)
        pass
