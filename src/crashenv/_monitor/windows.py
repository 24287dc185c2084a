"""``crashenv run`` and ``crashenv collect`` on Windows.

One thread waits for the program, the pipe and the job at once; another one reads the job's
messages, because a process must be opened while it is running. The program gets our console,
all handles that we inherited, and the console's events: Ctrl-C reaches both of us,
so we only have to survive it.
"""

import os
import queue
import subprocess
import sys
import threading
from time import monotonic

import crashenv
from crashenv import _parent_windows, _store
from crashenv._monitor import jobs, say
from crashenv._monitor.receivers import Receivers
from crashenv._monitor.reports import Reports
from crashenv._starting import PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from crashenv._monitor import Options
    from crashenv._monitor.program import Dispositions
    from crashenv._sinks.address import Address
    from crashenv.records import Ending

    _winapi: Any
else:
    import _signal
    import _winapi

_OWN_FAILURE = 125
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_CREATE_SUSPENDED = 4
_SYNCHRONIZE, _QUERY = 0x100000, 0x1000
_LONGEST = 60.0  # seconds of one wait, for what has no event of its own
_GRACE, _LONGEST_GRACE = 0.1, 1.0  # seconds for bytes of processes that outlive the program
_PATIENCE = 1.0  # seconds for the parent to end, once it has closed the pipe
_CHUNK = 1 << 16
_NO_DISPOSITIONS: "Any" = None  # instead of signal dispositions


def run(options: "Options") -> "NoReturn":
    """Run the program, and end as it ends."""
    _outlive_the_console()
    try:
        monitor = Monitor(options)
    except FileNotFoundError as error:
        _fail(options, error, _NOT_FOUND)
    except PermissionError as error:
        _fail(options, error, _NOT_EXECUTABLE)
    except OSError as error:
        is_programs = getattr(error, "winerror", 0) in (193, 216)  # not a program for this machine
        _fail(options, error, _NOT_EXECUTABLE if is_programs else _OWN_FAILURE)
    _exit(monitor.watch())


def _fail(options: "Options", error: OSError, status: int) -> "NoReturn":
    say("%s: %s" % (options.command[0], error.strerror or error))
    _exit(status)


def _exit(status: int) -> "NoReturn":
    """Exit with all 32 bits of the status, such as 0xC0000005."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    _winapi.ExitProcess(status)
    raise SystemExit  # not reached


def _outlive_the_console() -> None:
    """Handle Ctrl-C and Ctrl-Break, which end all other processes of a console."""
    for name in ("SIGINT", "SIGBREAK"):
        if _signal.getsignal(getattr(_signal, name)) != _signal.SIG_IGN:
            _signal.signal(getattr(_signal, name), _do_nothing)


def _do_nothing(*_: "Any") -> None:
    pass


class Monitor:
    """Starts the program at once. Raises OSError."""

    def __init__(self, options: "Options") -> None:
        self._options = options
        self._receivers = Receivers(options.receivers, _NO_DISPOSITIONS)
        self._source = _parent_windows.Source()
        environment = _parent_windows.environment(
            self._source, name=options.variable, is_for_all=True
        )
        self._job = jobs.Job()
        self._began = monotonic()
        process, thread, self._pid, _ = _winapi.CreateProcess(
            _found(options.command[0]),
            subprocess.list2cmdline(options.command),
            None,
            None,
            True,  # it inherits all inheritable handles, as it would without us
            _CREATE_SUSPENDED,
            environment,
            None,
            vars(subprocess)["STARTUPINFO"](),
        )
        self._process = process
        self._job.add(process)
        jobs.resume(thread)
        _winapi.CloseHandle(thread)
        self._reports: Reports | None = None
        self._is_finished = False

    def watch(self) -> int:
        """Return the program's exit status, after all its reports were read and stored."""
        problem = _store.problem(self._options.store or _store.default_folder())
        if problem:
            say("records cannot be stored: %s" % problem)
        while _winapi.WaitForSingleObject(self._process, 0):
            self._guarded(self._step)
        status = int(_winapi.GetExitCodeProcess(self._process))
        run_time = monotonic() - self._began
        self._guarded(lambda: self._finish(status, run_time))
        return status

    def _guarded(self, action: "Callable[[], None]") -> None:
        """Whatever fails here, the program keeps its monitor."""
        try:
            action()
        except InterruptedError:  # Ctrl-C
            pass
        except Exception as error:
            say("%r" % error)

    def _step(self, longest: float = _LONGEST) -> None:
        """Wait for something to do, ``longest`` seconds at most, and do it."""
        now = monotonic()
        timeouts = [longest, *(deadline - now for deadline in self._receivers.deadlines())]
        if self._reports is not None:
            timeouts += self._reports.timeouts()
        event = self._source.event()
        handles = [self._job.event] + ([event] if event else [])
        if not self._is_finished:
            handles.append(self._process)
        milliseconds = 0 if not event and not self._is_finished else max(0, min(timeouts)) * 1000
        _winapi.WaitForMultipleObjects(handles, False, int(milliseconds))
        self._read()
        for ended in self._job.ended():
            if ended.pid != self._pid:
                ending = _ending(ended.status, ended.run_time, None)
                self._receive().process_ended(ended, ending)
        self._receivers.work()
        if self._reports is not None:
            self._reports.work()
            if self._reports.is_quiet():
                self._reports.flush(is_early=False)

    def _read(self) -> None:
        while True:
            data = self._source.take()
            if not data:
                return
            self._receive().feed(data)

    def _receive(self) -> Reports:
        if self._reports is None:
            self._reports = Reports(self._options, self._pid, self._receivers, believes_dumps=False)
        return self._reports

    def _finish(self, status: int, run_time: float) -> None:
        self._is_finished = True
        self._read()
        ending = _ending(status, run_time, self._process)
        if status or self._reports is not None:
            self._receive().program_ended(ending, None)
        ended = last = monotonic()
        while self._job.is_active():  # a remaining process may be writing, or never end
            if self._reports is not None:
                last = max(last, self._reports.last_byte)
            left = min(last + _GRACE, ended + _LONGEST_GRACE) - monotonic()
            if left <= 0:
                break
            self._step(left)
        self._step(0)
        if self._reports is not None:
            self._reports.finish()
        self._receivers.finish(self._wait_until)

    def _wait_until(self, is_done: "Callable[[], bool]", longest: float) -> bool:
        return _work_until(self._step, is_done, longest)


def _work_until(
    step: "Callable[[float], object]", is_done: "Callable[[], bool]", longest: float
) -> bool:
    """Call ``step`` until ``is_done``; return whether it was within ``longest`` seconds."""
    deadline = monotonic() + longest
    while not is_done():
        if monotonic() > deadline:
            return False
        step(0.05)
    return True


def _found(name: str) -> "str | None":
    """Search PATH and PATHEXT like cmd.exe; None leaves the search to CreateProcess."""
    from shutil import which

    return which(name)


def _ending(status: int, run_time: float, process: "int | None") -> "Ending":
    user = system = peak = None
    if process is not None:
        user, system, peak = jobs.usage(process)
    return {
        "status": status,
        "signal": None,
        "core": False,
        "run_time": round(run_time, 6),
        "user_time": user,
        "system_time": system,
        "peak_memory": peak,
        "oom_kills": None,
        "cgroup_peak": None,
        "cgroup_limit": None,
    }


# --- collect


def collect(options: "Options") -> None:
    """Read standard input to its end."""
    _outlive_the_console()
    Collector(options).run()


class Collector:
    """Reads what its parent writes, and reports how the parent died."""

    def __init__(self, options: "Options") -> None:
        self._parent, self._process, options.command = _parent_of()
        self._began = monotonic()
        self._receivers = Receivers(options.receivers, _NO_DISPOSITIONS)
        self._reports = Reports(options, self._parent, self._receivers, believes_dumps=False)
        self._chunks: queue.Queue[bytes] = queue.Queue(16)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """Read in a thread: a pipe that another process made can only be read by waiting."""
        data = b"?"
        while data:
            try:
                data = os.read(0, _CHUNK)
            except OSError:  # EINVAL: closed
                data = b""
            self._chunks.put(data)

    def run(self) -> None:
        """Read to the end of the pipe, and finish."""
        while self._step(_LONGEST):
            pass
        if self._process and not _winapi.WaitForSingleObject(self._process, int(_PATIENCE * 1000)):
            status = int(_winapi.GetExitCodeProcess(self._process))
            run_time = monotonic() - self._began
            self._reports.program_ended(_ending(status, run_time, self._process), None)
        self._reports.finish()
        self._receivers.finish(self._wait_until)

    def _step(self, longest: float) -> bool:
        now = monotonic()
        timeouts = [longest, *self._reports.timeouts()]
        timeouts += [deadline - now for deadline in self._receivers.deadlines()]
        try:
            data: bytes | None = self._chunks.get(timeout=max(0.001, min(timeouts)))
        except queue.Empty:
            data = None
        if data:
            self._reports.feed(data)
        self._reports.work()
        if self._reports.is_quiet():
            self._reports.flush(is_early=False)
        self._receivers.work()
        return data != b""

    def _wait_until(self, is_done: "Callable[[], bool]", longest: float) -> bool:
        return _work_until(self._step, is_done, longest)


def _parent_of() -> "tuple[int, int, list[str]]":
    """Return the process id, the handle (0 if there is none) and the command line of the parent."""
    parts = os.environ.pop(PARENT, "").split("\x1f")
    if len(parts) > 2:
        return int(parts[0]), max(0, int(parts[1])), parts[2:]
    pid = jobs.parent_id(_winapi.GetCurrentProcess())
    try:
        handle = int(_winapi.OpenProcess(_QUERY | _SYNCHRONIZE, False, pid))
    except OSError:
        return pid, 0, ["?"]
    return pid, handle, jobs.command_of(handle) or ["?"]


# --- --on-crash


class Hook:
    """``--on-crash``: runs ``command`` for each record, one at a time, in a thread."""

    LONGEST = 30.0  # seconds for one run
    _MOST_WAITING = 64

    def __init__(self, command: "list[str]", dispositions: "Dispositions") -> None:
        self._command = command
        self._waiting: queue.Queue[Any] = queue.Queue(self._MOST_WAITING)
        self._lost = 0
        self.deadline: float | None = None
        threading.Thread(target=self._work, daemon=True).start()

    def take(self, record: "Any", content: bytes, path: str) -> None:
        from crashenv._monitor.hooks import variables_of

        try:
            self._waiting.put_nowait((content, variables_of(record, path)))
        except queue.Full:
            self._lost += 1

    def work(self) -> None:
        pass

    def child_ended(self, pid: int, status: int) -> None:
        pass

    def finish(self, wait_until: "Callable[[Callable[[], bool], float], bool]") -> None:
        if not wait_until(lambda: not self._waiting.unfinished_tasks, self.LONGEST):
            self._fail("was still running")
        if self._lost:
            self._fail("was not run for %d crashes" % self._lost)

    def _work(self) -> None:
        while True:
            content, variables = self._waiting.get()
            try:
                self._run(content, {**os.environ, **variables})
            except FileNotFoundError:
                self._fail("not found")
            except (OSError, ValueError) as error:
                self._fail(str(error))
            finally:
                self._waiting.task_done()

    def _run(self, content: bytes, variables: "dict[str, str]") -> None:
        process = subprocess.Popen(
            self._command,
            executable=_found(self._command[0]),
            stdin=subprocess.PIPE,
            stdout=2,
            env=variables,
        )
        try:
            process.communicate(content, timeout=self.LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            self._fail("took more than %d s" % self.LONGEST)
        else:
            if process.returncode:
                self._fail("exit status %d" % process.returncode)

    def _fail(self, reason: str) -> None:
        say("--on-crash %s: %s" % (self._command[0], reason))


# --- --sink


class Sinks:
    """``--sink``: starts ``crashenv send``, one at a time, in a thread that waits for it.

    ``arguments`` are passed to it. See ``_monitor.sinks`` for why it is another process.
    """

    _LONGEST_AT_END = 10.0  # seconds; Windows starts a process slowly
    _PAUSE = 15.0  # seconds to the next try if some could not be sent
    _CODE = (
        "import sys; sys.path.append(sys.argv.pop(1)); "
        "from crashenv.__main__ import main; sys.exit(main())"
    )

    def __init__(
        self, addresses: "Sequence[Address]", store: "str | None", arguments: "Sequence[str]"
    ) -> None:
        from crashenv._sinks.marks import Marks

        self._folder = store or _store.default_folder()
        root = os.path.dirname(os.path.dirname(os.path.abspath(crashenv.__file__)))
        self._command = [sys.executable, "-I", "-S", "-c", self._CODE, root, "send", "--quiet"]
        self._command += [*arguments, "--patience", "1", "--store", self._folder]
        self._urls = " ".join([address.url for address in addresses])
        self._wanted = threading.Event()
        self._is_busy = False
        self.deadline: float | None = None
        if os.path.isdir(self._folder):
            for address in addresses:
                marks = Marks(self._folder, address).load()
                marks.begin(now=True)
                if marks.waiting():
                    self._wanted.set()
        threading.Thread(target=self._work, daemon=True).start()

    def take(self, record: "Any", content: bytes, path: str) -> None:
        if path:
            self._wanted.set()
        else:
            say("a crash that could not be stored was not sent")

    def work(self) -> None:
        self.deadline = None
        self._wanted.set()

    def child_ended(self, pid: int, status: int) -> None:
        pass

    def finish(self, wait_until: "Callable[[Callable[[], bool], float], bool]") -> None:
        """Wait a while; the next monitor sends what is left."""
        wait_until(lambda: not self._is_busy and not self._wanted.is_set(), self._LONGEST_AT_END)

    def _work(self) -> None:
        while self._wanted.wait():
            self._is_busy = True
            self._wanted.clear()
            try:
                done = subprocess.run(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    env={**os.environ, "CRASHENV_SINK": self._urls},
                    check=False,
                )
                if done.returncode:
                    self.deadline = monotonic() + self._PAUSE
            except OSError as error:
                say("cannot start the sender: %s" % error)
                self.deadline = monotonic() + self._PAUSE
            self._is_busy = False
