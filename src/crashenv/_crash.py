"""Called by a hook: is this a crash, and what is to be said of it?

Crash side: see the package.
"""

import os
import sys
from _thread import get_ident

from crashenv import _capture, _writer
from crashenv._wire import Body

try:
    from _thread import get_native_id
except ImportError:  # PyPy
    get_native_id = get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any

    from crashenv._output import CrashOutput

    ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]
    Judge = Callable[[BaseException, TracebackType | None], bool]

# The exceptions that end a program or a thread on purpose.
_NOT_CRASHES = (SystemExit, KeyboardInterrupt)
_PROMPTS = ("<stdin", "<console", "<python-input")  # some number their lines
# The modules whose frames an uncaught exception in the main thread starts in.
_OUTERMOST = ("__main__", "runpy")
_MOST_NOTES = 50  # counted: their sizes have to fit a value of the header
_MOST_FRAMES = 100  # of a thread, as in faulthandler's dumps

_reported: "BaseException | None" = None


# --- the main thread


def main_thread(
    output: "CrashOutput",
    print_exception: "ExceptHook",
    exc_type: "type[BaseException]",
    value: "BaseException",
    traceback: "TracebackType | None",
) -> None:
    """For ``sys.excepthook``."""
    if not _is_crash(value, _is_outermost):
        print_exception(exc_type, value, traceback)
        return
    _remember(value)
    body = Body(output.limit)
    try:
        _capture.print_and_keep(body, value, "", print_exception, exc_type, value, traceback)
    finally:
        _report(output, "exception", _current_thread_name(), body, value)


def displaced(output: "CrashOutput", print_exception: "ExceptHook") -> None:
    """At exit: report what the interpreter showed to a hook that never called ours.

    PyErr_PrintEx stores the exception in ``sys`` before it looks for
    ``sys.excepthook``, whatever that is then.
    """
    value = _last_exception()
    if value is None or not _is_crash(value, _is_outermost_in_main):
        return
    _remember(value)
    body = Body(output.limit)
    if "exceptiongroup" in sys.modules and sys.version_info < (3, 11):
        # The backport's hook replaced ours, and taught traceback to show groups.
        _capture.format_exception(body, value)
    else:
        traceback = getattr(sys, "last_traceback", None)
        _capture.only_keep(body, value, "", print_exception, type(value), value, traceback)
    _report(output, "exception", _current_thread_name(), body, value)


def _remember(value: "BaseException") -> None:
    global _reported
    _reported = value


def _last_exception() -> "BaseException | None":
    # Programs that store the ones they handled rarely know the name of 3.12.
    name = "last_exc" if sys.version_info >= (3, 12) else "last_value"
    value: BaseException | None = getattr(sys, name, None)
    return value


def _is_crash(value: "BaseException | None", outermost: "Judge") -> bool:
    """Whether the interpreter itself found nothing that handles ``value``.

    Anyone may call a hook to print an exception, and debuggers, shells and test
    runners set ``sys.last_value`` for the ones they caught.
    """
    try:
        if value is None or value is _reported or value is not _last_exception():
            return False
        if _is_exit(value):
            return False
        traceback = getattr(sys, "last_traceback", None)
        return outermost(value, traceback) and not _at_prompt(value, traceback)
    except BaseException:  # the value may be hostile; what we cannot judge, we leave
        return False


def _is_exit(value: "BaseException") -> bool:
    return issubclass(type(value), _NOT_CRASHES)  # isinstance would ask value.__class__


def _is_outermost(value: "BaseException", traceback: "TracebackType | None") -> bool:
    """Whether the exception left the outermost frame, and that frame has ended."""
    if traceback is None:  # SyntaxError in the script
        return True
    outermost = traceback.tb_frame
    if outermost.f_back is not None:
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame is outermost:
            return False
        frame = frame.f_back
    return True


def _is_outermost_in_main(value: "BaseException", traceback: "TracebackType | None") -> bool:
    if traceback is None:
        return isinstance(value, SyntaxError) and value.filename == sys.argv[0]
    name = traceback.tb_frame.f_globals.get("__name__")
    return name in _OUTERMOST and _is_outermost(value, traceback)


def _at_prompt(value: "BaseException", traceback: "TracebackType | None") -> bool:
    if not hasattr(sys, "ps1"):  # set by interactive sessions only
        return False
    if traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
    else:
        filename = value.filename or "" if isinstance(value, SyntaxError) else ""
    return filename.startswith(_PROMPTS)


# --- other threads


def raw_thread(
    output: "CrashOutput", original: "Callable[[Any], Any]", unraisable: "sys.UnraisableHookArgs"
) -> None:
    """For ``sys.unraisablehook``, which gets the exception of a ``_thread`` thread."""
    value = unraisable.exc_value
    if value is None or _is_exit(value):
        original(unraisable)
        return
    body = Body(output.limit)
    _capture.print_and_keep(body, value, "%s:\n" % unraisable.err_msg, original, unraisable)
    _report_thread(output, _started_function(unraisable), body, value)


def _started_function(unraisable: "sys.UnraisableHookArgs") -> str:
    if unraisable.object is None:  # 3.13 and later: "... <function load at 0x7f...>"
        name = (unraisable.err_msg or "").partition("<function ")[2].partition(" at ")[0]
    else:
        name = getattr(unraisable.object, "__qualname__", "")
    return name if isinstance(name, str) else ""


def thread(
    output: "CrashOutput", invoke: "Callable[[Any], None]", crashed: "threading.Thread"
) -> None:
    """For ``Thread._invoke_excepthook``."""
    exc_type, value, traceback = sys.exc_info()
    if value is None or _is_exit(value):
        invoke(crashed)
        return
    module: Any = sys.modules["threading"]
    genuine = vars(module.Thread)["_invoke_excepthook"].genuine
    body = Body(output.limit)
    name = _name_of(crashed)
    heading = "Exception in thread %s:\n" % name
    if module.excepthook is genuine:
        _capture.print_and_keep(body, value, heading, invoke, crashed)
        _report_thread(output, name, body, value)
    else:
        # Before the program's hook is called, for that may end the process.
        args = module.ExceptHookArgs([exc_type, value, traceback, crashed])
        _capture.only_keep(body, value, heading, genuine, args)
        _report_thread(output, name, body, value, lambda: invoke(crashed))


def _report_thread(
    output: "CrashOutput",
    name: str,
    body: "Body",
    value: "BaseException",
    then: "Callable[[], None] | None" = None,
) -> None:
    """What ``crashthreads`` says; after ``then`` everything is on stderr."""
    if output.threads != "ignore":
        _report(output, "thread", name, body, value)
    if then is not None:
        then()
    if output.threads == "fatal":
        _exit_now()


def _exit_now() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(1)


# --- multiprocessing


class Worker:
    """An exception that multiprocessing is about to print for the worker ``name``."""

    def __init__(self, output: "CrashOutput", name: str) -> None:
        self._output = output
        self._name = name
        self._value = sys.exc_info()[1]
        self._body = Body(output.limit)
        # Before it looks the name up, it has taken hold of sys.stderr.write.
        self._body.add("Process %s:\n" % name)
        self._reading = _capture.Reading(self._body, True)

    def report(self) -> None:
        """After ``_bootstrap`` has printed it."""
        self._reading.stop()
        if self._value is None or _is_exit(self._value):
            return
        if self._reading.failed:
            self._body.clear()
            self._body.add("Process %s:\n" % self._name)
            _capture.format_exception(self._body, self._value)
        _report(self._output, "process", _current_thread_name(), self._body, self._value)


# --- reporting


def _report(
    output: "CrashOutput", kind: str, thread: str, body: "Body", value: "BaseException"
) -> None:
    """Nothing that goes wrong here reaches the program."""
    try:
        if output.traceback == "all":
            _add_other_threads(body)
        copy = output.begin_report()
        if copy is not None:
            report = body.report(kind, thread, get_native_id(), _lines_of_notes(value))
            _writer.write(copy, report, output.timeout)
            output.end_report(copy)
    except BaseException:
        pass


def _lines_of_notes(value: "BaseException") -> str:
    """The header's ``notes`` (see ``_wire``), empty where a hostile exception hides them."""
    try:
        notes = BaseException.__getattribute__(value, "__dict__").get("__notes__")
        if type(notes) is list and len(notes) <= _MOST_NOTES:
            return ",".join([str(str.count(note, "\n") + 1) for note in notes])
    except BaseException:
        pass
    return ""


def _current_thread_name() -> str:
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(get_ident())
    return "MainThread" if thread is None else _name_of(thread)


def _name_of(thread: "threading.Thread") -> str:
    try:
        return str(thread.name)
    except BaseException:
        return ""


def _add_other_threads(body: "Body") -> None:
    """The stacks of all other threads, in faulthandler's layout."""
    threading = sys.modules.get("threading")
    threads = dict(getattr(threading, "_active", {}))
    for ident, frame in sys._current_frames().items():
        if ident == get_ident():
            continue
        name = " [%s]" % _name_of(threads[ident]) if ident in threads else ""
        body.add("\nThread 0x%016x%s (most recent call first):\n" % (ident, name))
        _add_frames(body, frame)


def _add_frames(body: "Body", frame: "FrameType | None") -> None:
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        code = frame.f_code
        where = (code.co_filename, frame.f_lineno or 0, code.co_name)
        body.add('  File "%s", line %d in %s\n' % where)
        frame = frame.f_back
    body.add("  ...\n")
