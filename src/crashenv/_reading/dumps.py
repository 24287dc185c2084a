"""Parse the text that ``faulthandler`` writes, on CPython 3.9 to 3.15 and PyPy."""

from crashenv._reading.tracebacks import base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crashenv.records import CFrame, Dump, StackFrame, Thread

# As in faulthandler.c; one of them got a hyphen later.
_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
_REASONS = ("Fatal Python error: ", "Windows fatal exception: ")
_TIMEOUT = "Timeout ("
_STACKS = ("Current thread 0x", "Thread 0x", "Stack (most recent call first")
_C_STACK = "Current thread's C stack trace "
_EXTENSIONS = "Extension modules: "
_FRAME = '  File "'
_C_FRAME = '  Binary file "'

_MOST_KEPT = 1024
_kept: "dict[str, StackFrame]" = {}


def parse(lines: "list[str]") -> "Dump":
    """Parse ``lines``, and ignore other lines among them."""
    dump: Dump = {
        "reason": None,
        "signal": None,
        "threads": [],
        "c_stack": [],
        "extension_modules": [],
    }
    dump["threads"] = threads(lines)
    for line in lines:
        if line.startswith(_C_FRAME):
            dump["c_stack"].append(_c_frame(line))
        elif line.startswith(_EXTENSIONS):
            names = line[len(_EXTENSIONS) :].partition(" (total: ")[0]
            dump["extension_modules"] = names.split(", ")
        elif line.startswith(_REASONS) and dump["reason"] is None:
            reason = line.partition(": ")[2]
            dump["reason"], dump["signal"] = reason, _SIGNALS.get(reason)
        elif line.startswith(_TIMEOUT) and dump["reason"] is None:
            dump["reason"] = line
    return dump


def find(text: str) -> int:
    """Return where in ``text`` a dump begins; -1 if there is none."""
    found = [("\n" + text).find("\n" + mark) for mark in (*_REASONS, *_STACKS)]
    return min([start for start in found if start >= 0], default=-1)


def threads(lines: "list[str]") -> "list[Thread]":
    """Return the threads whose stacks are in ``lines``."""
    found: list[Thread] = []
    for line in lines:
        if line.startswith(_STACKS):
            found.append(_thread(line))
        elif line.startswith(_FRAME) and found:
            found[-1]["frames"].append(_frame(line))
    return found


def is_thread(line: str) -> bool:
    """Return whether the stack of another thread follows, as from ``crashtraceback=all``."""
    return line.startswith("Thread 0x") and line.endswith(" (most recent call first):")


def _thread(line: str) -> "Thread":
    title = line.partition(" (most recent call first")[0]
    before, bracket, name = title.partition(" [")
    number = before.rpartition(" ")[2]
    return {
        "id": number if number.startswith("0x") else None,
        "name": name.rpartition("]")[0] if bracket else None,
        "current": not before.startswith("Thread"),
        "frames": [],
    }


def _frame(line: str) -> "StackFrame":
    frame = _kept.get(line)
    if frame is None:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        frame = _kept[line] = _new_frame(line)
    return frame


def _new_frame(line: str) -> "StackFrame":
    file, _, rest = line[len(_FRAME) :].partition('", line ')
    number, _, function = rest.partition(" in ")
    return {
        "file": file,
        "line": int(number) if number.isdecimal() and len(number) < 10 else None,
        "function": function,
        "source": None,
        "columns": None,
        "repeated": 0,
    }


def _c_frame(line: str) -> "CFrame":
    file, _, rest = line[len(_C_FRAME) :].partition('"')
    place, _, address = rest.partition(" [")
    symbol, _, offset = place.partition("at ")[2].partition("+")
    return {
        "file": file,
        "symbol": symbol or None,
        "offset": offset or None,
        "address": address.rstrip("]") or None,
    }


def culprit(dump: "Dump") -> "list[StackFrame]":
    """Return the frames of the current thread, the most recent call last, as in a traceback.

    There are none if no thread is current: the signal arrived in a thread that Python does
    not know, and the stacks of the others are unrelated to the crash.
    """
    for thread in dump["threads"]:
        if thread["current"]:
            return thread["frames"][::-1]
    return []


_HANDLERS = (
    *("python", "pypy", "libpython", "libpypy", "linux-vdso", "ld-linux"),
    *("libc.", "libc-", "libpthread", "ld-musl", "libsystem_", "ntdll", "kernel"),
)


def library(dump: "Dump") -> "str | None":
    """Return the library of the crash from a C stack (3.14): ``libmine.so in crash``.

    On top of that stack are the interpreter's handler and the C library, which called it.
    """
    for frame in dump["c_stack"]:
        name = base(frame["file"])
        if name and not name.lower().startswith(_HANDLERS):
            return name + " in " + frame["symbol"] if frame["symbol"] else name
    return None
