"""Crash child processes in every way, and see whether their reports arrive."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

from crashenv._reading import build
from crashenv._reading.frames import Splitter
from crashenv._seldom.settings import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from crashenv._reading.frames import Frame

_DEADLINE = 60  # seconds for one child
_NO_ERROR_BOXES = 0x8003  # SEM_FAILCRITICALERRORS, NOGPFAULTERRORBOX, NOOPENFILEERRORBOX
_PYPY = sys.implementation.name == "pypy"
_DUMP = "dump"
_NOTHING = "nothing"

_THREAD = """
import threading
def fail(): raise ValueError("trial")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
_SUBCLASS = """
import threading
class Thread(threading.Thread): pass
threading.Thread = Thread
"""
_RELOADED = "import importlib, threading; importlib.reload(threading)\n"
_MOCKED = "import os, time; os.write = os.fstat = time.monotonic = None\n"
_FORBIDDEN = """
import builtins, sys
sys.meta_path.clear()
def refuse(name, *rest): raise ImportError(name)
builtins.__import__ = refuse
raise ValueError("trial")
"""
_AUDIT = """
import sys
def hook(event, arguments):
    if event in ("import", "exec", "open", "marshal.loads", "sys._getframe"):
        raise RuntimeError(event)
sys.addaudithook(hook)
raise ValueError("trial")
"""
_HOOK_BESIDE_THREAD = """
import atexit, os, sys, threading, time
atexit.register(os._exit, 1)
sys.excepthook = lambda *error: None
threading.Thread(target=time.sleep, args=(0.1,)).start()
raise ValueError("trial")
"""
_WRAPPED_WORKER = """
import multiprocessing.process
original = multiprocessing.process.BaseProcess._bootstrap
def wrapper(self, *rest, **options): return original(self, *rest, **options)
multiprocessing.process.BaseProcess._bootstrap = wrapper
"""
_RAW_THREAD = """
import _thread, time
running = _thread.allocate_lock()
running.acquire()
def fail():
    running.release()
    raise ValueError("trial")
_thread.start_new_thread(fail, ())
running.acquire()
while _thread._count(): time.sleep(0.01)
"""
_WORKER = """
import multiprocessing
def fail(): raise ValueError("trial")
if __name__ == "__main__":
    context = multiprocessing.get_context("%s")
    worker = context.Process(target=fail)
    worker.start()
    worker.join()
"""
_FORK = """
import os
if not os.fork():
    raise ValueError("trial")
os.wait()
"""
# Up to 3.11 an isolated sub-interpreter has no threads.
_SUBINTERPRETER = """
import %s as interpreters, sys
options = dict(isolated=False) if sys.version_info < (3, 12) else {}
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(interpreters.create(**options), %r)
"""
_GROUP = "raise ExceptionGroup('trial', [ValueError(1), KeyError(2)])"
_NO_STR = """
class Hostile(Exception):
    def __str__(self): raise ValueError
    __repr__ = __str__
raise Hostile
"""
_HOOK = "import sys; sys.excepthook = lambda *error: None; raise ValueError('trial')"
_SIGNAL = "import os; os.kill(os.getpid(), %d)"
_RAISED = "import signal; signal.raise_signal(%d)"  # os.kill() is TerminateProcess
_OVERFLOW = "import faulthandler; faulthandler._stack_overflow()"
_SHARED = "import faulthandler; faulthandler.enable(); " + _SIGNAL
_FATAL_ERROR = "import ctypes; ctypes.pythonapi.Py_FatalError(b'trial')"
_MONITOR = "only a monitor can report it: crashenv run"
_FATAL = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")
_CORE = ("SIGQUIT", "SIGSYS", "SIGTRAP", "SIGXCPU")


class Trial:
    """A crash: ``source`` is a program, run as ``python -c`` or as a ``script``.

    ``expected`` is the kind of the record that should arrive; ``remark`` is printed.
    """

    def __init__(
        self, name: str, expected: str, source: str, script: bool = False, remark: str = ""
    ) -> None:
        self.name = name
        self.expected = expected
        self.source = source
        self.script = script
        self.remark = remark


class Outcome:
    """The result of a trial."""

    def __init__(self, trial: Trial, arrived: "Sequence[str]", problem: str) -> None:
        self.trial = trial
        self.arrived = ", ".join(arrived) or _NOTHING
        self.is_good = not problem and self.arrived == trial.expected
        self.remark = problem or trial.remark


def trials() -> "Iterator[Trial]":
    """Yield one crash of each class that this interpreter and this system have."""
    fail = "raise ValueError('trial')"
    yield Trial("exception, python -c", "exception", fail)
    yield Trial("exception, script", "exception", fail, script=True)
    yield Trial("exception, hook replaced", "exception", _HOOK)
    name = "the same, with another thread"
    if _PYPY:
        yield Trial(name, _NOTHING, _HOOK_BESIDE_THREAD, remark="PyPy reports it at the exit")
    else:
        yield Trial(name, "exception", _HOOK_BESIDE_THREAD)
    yield Trial("os and time replaced", "exception", _MOCKED + fail)
    yield Trial("imports forbidden", "exception", _FORBIDDEN)
    yield Trial("audit hook that raises", "exception", _AUDIT)
    yield Trial("missing module", "exception", "import crashenv_has_no_such_module")
    yield Trial("syntax error in the script", "exception", "def trial(:", script=True)
    yield Trial("exception without a text", "exception", _NO_STR)
    if sys.version_info >= (3, 11):
        yield Trial("exception group", "exception", _GROUP)
    yield Trial("thread", "thread", _THREAD)
    yield Trial("thread of a replaced class", "thread", _SUBCLASS + _THREAD)
    yield Trial("thread, threading reloaded", "thread", _RELOADED + _THREAD)
    yield Trial("raw thread", "thread", _RAW_THREAD)
    module = _interpreters()
    if module:
        source = _SUBINTERPRETER % (module, _THREAD)
        name = "thread of a sub-interpreter"
        if os.name == "nt" and sys.version_info[:2] == (3, 12):
            # An isolated sub-interpreter cannot import ctypes there.
            yield Trial(name, _NOTHING, source, remark="only crashfile works there")
        else:
            yield Trial(name, "thread", source)
    if hasattr(os, "fork"):
        yield Trial("child by os.fork", "exception", _FORK)
    for method in _start_methods():
        name = "multiprocessing, " + method
        yield Trial(name, "process", _WORKER % method, script=True)
        source = _WRAPPED_WORKER + _WORKER % method
        yield Trial(name + ", wrapped", "process", source, script=True)
    yield from _native()
    if not _PYPY:
        yield Trial("Py_FatalError", _NOTHING, _FATAL_ERROR, remark=_MONITOR)
    if os.name == "nt":
        yield Trial("os.kill", _NOTHING, _SIGNAL % signal.SIGTERM, remark=_MONITOR)
    if hasattr(signal, "SIGKILL"):
        yield Trial("SIGKILL", _NOTHING, _SIGNAL % signal.SIGKILL, remark=_MONITOR)
    yield Trial("sys.exit(1)", _NOTHING, "import sys; sys.exit(1)", remark="not a crash")
    yield Trial("clean exit", _NOTHING, "pass", remark="not a crash")


def _interpreters() -> str:
    from importlib.util import find_spec

    return next((n for n in ("_interpreters", "_xxsubinterpreters") if find_spec(n)), "")


def _start_methods() -> "Sequence[str]":
    import multiprocessing

    return multiprocessing.get_all_start_methods()


def _native() -> "Iterator[Trial]":
    source = _SIGNAL if os.name == "posix" else _RAISED
    for name in _FATAL:
        if hasattr(signal, name):
            yield Trial(name, _DUMP, source % getattr(signal, name))
    if os.name == "nt":
        import faulthandler

        if hasattr(faulthandler, "_read_null"):  # up to 3.14
            yield Trial("access violation", _DUMP, "import faulthandler; faulthandler._read_null()")
    else:
        yield Trial("C stack overflow", _DUMP, _OVERFLOW)
        for name in _CORE:
            if hasattr(signal, name):
                yield Trial(name, _DUMP, _SIGNAL % getattr(signal, name))
        yield Trial(
            "SIGSEGV, faulthandler in use",
            _NOTHING,
            _SHARED % signal.SIGSEGV,
            remark="the dump goes where the program wants it",
        )


def attempt(trial: Trial) -> Outcome:
    """Run the child to its end, and read its reports."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", trial.source]
        if trial.script:
            path = os.path.join(folder, "trial.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(trial.source)
            command = [sys.executable, path]
        reader, writer = os.pipe()
        frames: list[Frame] = []
        reading = threading.Thread(target=_read, args=(reader, frames), daemon=True)
        try:
            reading.start()
            problem = _run(command, folder, writer)
        finally:
            os.close(writer)
        # Until the child's last descendant has closed its end, or too much time has passed.
        reading.join(_DEADLINE)
    kinds = [build.record(frame)["kind"] for frame in frames]
    return Outcome(trial, kinds, problem)


def _run(command: "Sequence[str]", folder: str, writer: int) -> str:
    """Run the command; return a problem, or an empty string."""
    passing, item = _passing(writer)
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, variable(os.environ): item},
            **passing,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "did not end within %d s" % _DEADLINE
    except OSError as error:
        return str(error)
    return ""


def _passing(writer: int) -> "tuple[dict[str, Any], str]":
    """Return how to pass ``writer``: subprocess's arguments, and the setting."""
    if os.name == "posix":
        return {"pass_fds": [writer], "preexec_fn": _no_core_file}, "crashfd=%d" % writer
    import msvcrt

    windows: Any = msvcrt
    windows.SetErrorMode(_NO_ERROR_BOXES)  # which children inherit
    os.set_inheritable(writer, True)
    handle = windows.get_osfhandle(writer)
    startup: Any = vars(subprocess)["STARTUPINFO"](lpAttributeList={"handle_list": [handle]})
    return {"startupinfo": startup}, "crashhandle=%d" % handle


def _no_core_file() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(reader: int, frames: "list[Frame]") -> None:
    splitter = Splitter()
    while True:
        data = os.read(reader, 1 << 16)
        if not data:
            break
        frames += splitter.feed(data)
    os.close(reader)
    frames += splitter.close()
