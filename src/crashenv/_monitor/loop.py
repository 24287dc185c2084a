"""The program's parent: it passes signals on, reads the pipe, reaps, and ends as the program ends.

The program stays in our session and process group, so that job control works as
it would without us: the terminal signals both, a shell stops and continues both. So
a signal from the terminal is not passed on, and one that kill(2) sent to us alone is;
``si_code`` tells them apart. That is why all signals are blocked and waited for, and why
the pipe announces its bytes by a signal too (O_ASYNC, fcntl(2)): there is one blocking wait.
"""

import os
from time import monotonic, sleep

from crashenv import _parent, _store
from crashenv._monitor import oom, program, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from resource import struct_rusage
    from signal import struct_siginfo
    from typing import NoReturn

    from crashenv._monitor import Options
    from crashenv._monitor.family import Family
    from crashenv._monitor.receivers import Receivers
    from crashenv._monitor.reports import Reports
    from crashenv._monitor.stderr import Tee
    from crashenv._monitor.unwatched import Unwatched
else:
    import _signal

_OWN_FAILURE = 125
_ANY = _signal.valid_signals()
# The signals that the kernel sends to us alone: those of timers, which execve(2) preserves
# ("timeout" by alarm(2)). Its other signals go to the terminal's foreground group, or are ours.
_TIMERS = {_signal.SIGALRM, _signal.SIGVTALRM, _signal.SIGPROF}
# After the program's end, these end the monitor without waiting for anything.
_ENDING = {_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT}
_FIRST_LOOK = 0.03  # seconds until the first check whether another launcher hides crashenv
_STOPS = os.WUNTRACED | os.WCONTINUED

_CHUNK = 1 << 16
_CHUNK_OF_FAMILY = 1 << 12
_CHUNKS = 16  # read before signals are checked again

_GRACE = 0.1  # seconds to wait for the next byte once the program has ended
_LONGEST_GRACE = 1.0
_LONGEST_TAIL = 1.0

_MOST_FAILURES = 10
_PAUSE = 0.1  # seconds, so that a permanent failure uses no CPU

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def run(options: "Options") -> "NoReturn":
    """Run the program, and end as it ends."""
    try:
        monitor = Monitor(options)
    except (OSError, MemoryError) as error:
        say("cannot start: %s" % (error or "out of memory"))
        os._exit(_OWN_FAILURE)
    _end_as(monitor.watch())


class Monitor:
    """Starts the program at once. Raises OSError."""

    def __init__(self, options: "Options") -> None:
        self._options = options
        self._leads_session = os.getsid(0) == os.getpid()
        self._tee: Tee | None = None
        self._reports: Reports | None = None
        self._family: Family | None = None
        self._unwatched: Unwatched | None = None
        self._status: int | None = None
        self._usage: struct_rusage | None = None  # of a program whose ending may be told
        self._program_stopped = self._slept = self._more = self._is_urgent = False
        self._oom_kills = oom.kills()
        self._failures = 0
        self._dump_at: float | None = None  # after a SIGTERM
        self._dispositions = program.Dispositions()
        self._receivers: Receivers | None = None
        if options.receivers:
            from crashenv._monitor import receivers

            self._receivers = receivers.Receivers(options.receivers, self._dispositions)
        is_captured = options.capture_stderr and _parent.is_open(2)
        _parent.fill_standard_descriptors()
        if is_captured:
            from crashenv._monitor import stderr as standard_error

            self._tee = standard_error.Tee(_parent.let_go)
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._start()

    def _start(self) -> None:
        self._pipe, passed = _parent.open_pipe()
        stderr = None if self._tee is None else self._tee.stderr
        # Opening our end for writing gives a pipe's other end (proc(5)).
        path = "/proc/%d/fd/%d" % (os.getpid(), self._pipe)
        try:
            self._family_files: tuple[int, int] | None = _parent.open_family()
        except (AttributeError, OSError):  # no memfd_create(2), or a limit
            self._family_files = None
        environment = _parent.environment(
            passed, path=path, name=self._options.variable, family=self._family_files
        )
        self._passed, self._began = passed, monotonic()
        self._look_at: float | None = self._began + _FIRST_LOOK
        self._program = program.start(
            self._options.command, environment, self._dispositions, stderr=stderr
        )
        self._to_close = [passed] if stderr is None else [passed, stderr]

    def watch(self) -> int:
        """Return the program's wait status, after all its reports were read and stored.

        Whatever fails here, the program keeps its parent, and we end as it ends.
        """
        self._guarded(self._let_go)
        self._guarded(self._look_at_store)
        while self._status is None:
            self._guarded(self._step)
        try:
            self._finish(monotonic())
        except Exception as error:
            _try_to_say("cannot report the ending: %r", error)
        return self._status

    def _look_at_store(self) -> None:
        """Say now, not at the first crash, that records cannot be stored."""
        problem = _store.problem(self._options.store or _store.default_folder())
        if problem:
            say("records cannot be stored: %s" % problem)

    def _let_go(self) -> None:
        """Close the descriptors that are only for the program."""
        for fd in self._to_close:
            os.close(fd)
        _parent.let_go()

    def _guarded(self, action: "Callable[[], None]") -> None:
        try:
            action()
        except Exception as error:
            self._survive(error)
            try:
                self._reap()  # the signal of the program's end may have been lost
            except Exception as another:
                self._survive(another)

    def _survive(self, error: Exception) -> None:
        """Continue; after too many failures, without reading reports."""
        self._failures += 1
        if self._failures < _MOST_FAILURES:
            _try_to_say("%r", error)
        elif self._failures == _MOST_FAILURES:
            _try_to_say("reports are no longer read: %r", error)
            self._stop_reading()
            self._reports = None
        else:
            sleep(_PAUSE)

    # --- one step

    def _step(self, longest: "float | None" = None) -> None:
        """Wait for something to do, ``longest`` seconds at most, and do it."""
        info = self._wait(longest)
        if info is not None:
            self._handle(info)
        self._meet_family()  # first: a process that is reaped before that is not seen
        self._read()
        if self._dump_at is not None and self._dump_at <= monotonic():
            self._dump_at = None
            self._ask_for_stacks()
        self._look_for_unwatched()
        if self._receivers is not None:
            self._receivers.work()
        if self._reports is not None:
            self._reports.work()
            if self._reports.is_quiet():
                is_early = self._status is None and is_ending(self._program)
                self._reports.flush(is_early)

    def _wait(self, longest: "float | None") -> "struct_siginfo | None":
        now = monotonic()
        timeouts: list[float] = []
        if self._receivers is not None:
            timeouts += [deadline - now for deadline in self._receivers.deadlines()]
        if longest is not None:
            timeouts.append(longest)
        if self._more:
            timeouts.append(0)
        if self._dump_at is not None:
            timeouts.append(self._dump_at - now)
        if self._unwatched is not None:
            timeouts += self._unwatched.timeouts()
        elif self._look_at is not None:
            timeouts.append(self._look_at - now)
        if self._reports is not None:
            timeouts += self._reports.timeouts()
        if timeouts:
            return _signal.sigtimedwait(_ANY, max(0, min(timeouts)))
        return _signal.sigwaitinfo(_ANY)

    def _handle(self, info: "struct_siginfo") -> None:
        number = info.si_signo
        if number in (_signal.SIGCHLD, _signal.SIGCONT):
            self._reap()
        if self._status is not None and number in _ENDING:
            self._is_urgent = True
        if number == _signal.SIGWINCH and self._tee is not None:
            self._tee.resize()
        if self._is_for_program(info):
            if number == _signal.SIGTERM and self._options.dump_on_term is not None:
                self._dump_at = self._dump_at or monotonic() + self._options.dump_on_term
            try:
                os.kill(self._program, number)
            except ProcessLookupError:
                pass
            except PermissionError:  # of another user: set-uid, sudo
                say("signal %d may not be passed on to the program" % number)

    def _is_for_program(self, info: "struct_siginfo") -> bool:
        if self._status is not None:
            return False
        if info.si_code > 0:  # from the kernel (sigaction(2))
            # At a hangup, only the session leader gets SIGHUP (credentials(7)).
            return info.si_signo in _TIMERS or (
                info.si_signo == _signal.SIGHUP and self._leads_session
            )
        if info.si_signo == _signal.SIGCONT and self._slept and not self._program_stopped:
            self._slept = False
            return False  # a shell's "fg" has reached the whole group
        # The program signalled its group, or we wrote into a broken pipe.
        return info.si_pid not in (self._program, os.getpid())

    def _reap(self) -> None:
        while True:
            try:
                if self._status is None and self._has_ended_well():
                    self._status = os.waitpid(self._program, 0)[1]
                    continue
                pid, status, usage = os.wait4(-1, os.WNOHANG | _STOPS)
            except ChildProcessError:
                if self._status is None:  # lost for lack of memory
                    self._status = _OWN_FAILURE << 8
                return
            if pid == 0:
                return
            if pid == self._program and self._status is None:
                self._program_changed(status, usage)
            elif os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if self._family is not None:
                    self._family.reaped(pid, status)
                if self._receivers is not None:
                    self._receivers.child_ended(pid, status)

    def _has_ended_well(self) -> bool:
        """Whether the program did, and nothing was reported, so that nobody asks what it used.

        wait4(2) tells, but to make a ``struct_rusage`` of it the interpreter imports ``resource``,
        which takes 3 to 8 % of a start.
        """
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        info = os.waitid(os.P_PID, self._program, flags)
        if info is None or info.si_code != os.CLD_EXITED or info.si_status:
            return False
        self._read()  # what it wrote is there
        return self._reports is None

    def _program_changed(self, status: int, usage: "struct_rusage") -> None:
        self._program_stopped = os.WIFSTOPPED(status)
        if self._program_stopped:
            self._stop_too()
        elif not os.WIFCONTINUED(status):
            self._status, self._usage = status, usage

    def _stop_too(self) -> None:
        """Stop too, so that the shell sees a stopped job.

        SIGTSTP has no effect where no shell could continue us: on an orphaned
        process group and on process 1 (setpgid(2), kill(2)).
        """
        # In this order it merges with the terminal's, which may still be pending.
        os.kill(os.getpid(), _signal.SIGTSTP)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGTSTP})
        _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTSTP})
        self._slept = _signal.SIGCONT in _signal.sigpending()

    def _read(self) -> None:
        """Read what is in the pipe: it signals only bytes that come later."""
        for _ in range(_CHUNKS):
            self._more = False
            if self._pipe < 0:
                return
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._stop_reading()
                return
            try:
                self._receive().feed(data)
            except ImportError as error:  # another version was installed, or it was removed
                say("cannot read reports: %s" % error)
                self._stop_reading()
        self._more = True

    def _ask_for_stacks(self) -> None:
        """Signal the program and its descendants, if they handle the signal and do not end."""
        number = getattr(_signal, "SIG" + _parent.DUMP_SIGNAL)
        members = self._family.pids() if self._family is not None else ()
        for pid in () if self._status is not None else (self._program, *members):
            if catches(pid, number):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass

    def _meet_family(self) -> None:
        """See which processes have started, and which have died."""
        if self._family is None:
            if self._family_files is None:
                return
            try:
                data = os.read(self._family_files[0], _CHUNK_OF_FAMILY)
            except BlockingIOError:
                return
            if not data:  # nobody has the pipe open
                return
            from crashenv._monitor.family import Family

            self._family = Family(*self._family_files, self._program)
            self._family.hear(data)
        self._family.read()
        for member in self._family.ended():
            if self._unwatched is not None and member.status != 0:
                self._unwatched.ended(member.pid)
            if member.is_crash():
                self._read()
                self._receive().member_ended(member)

    def _look_for_unwatched(self) -> None:
        if self._unwatched is None:
            if self._look_at is None or monotonic() < self._look_at or self._pipe < 0:
                return
            self._look_at = None
            try:
                from crashenv._monitor.unwatched import Unwatched
            except ImportError:  # the package was removed meanwhile
                return
            self._unwatched = Unwatched(self._pipe, self._passed)
            self._unwatched.add(self._program)
        for pid in self._family.take_joined() if self._family is not None else ():
            self._unwatched.add(pid)
        self._unwatched.look()

    def _stop_reading(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _receive(self) -> "Reports":
        if self._reports is None:
            from crashenv._monitor.reports import Reports

            self._reports = Reports(self._options, self._program, self._receivers)
        return self._reports

    # --- after the program's end

    def _finish(self, ended: float) -> None:
        self._read()
        self._meet_family()
        self._report_death(ended)
        if self._unwatched is not None and self._status != 0:
            self._unwatched.ended(self._program)
        self._wait_for_stragglers(ended)
        if self._reports is not None:
            self._reports.finish()
        if self._receivers is not None:
            self._receivers.finish(self._wait_until)

    def _report_death(self, ended: float) -> None:
        assert self._status is not None
        stderr = None if self._tee is None else self._tee.tail(_LONGEST_TAIL)
        is_clean = os.WIFEXITED(self._status) and os.WEXITSTATUS(self._status) == 0
        if is_clean and self._reports is None:
            return
        from crashenv._monitor import deaths

        oom_kills = None
        if self._oom_kills is not None:
            before = self._oom_kills if self._family is None else self._family.oom_kills
            oom_kills = (oom.kills() or 0) - before
        usage = self._usage
        if usage is None:  # somebody reported after _has_ended_well() had looked
            import resource

            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        ending = deaths.ending(self._status, usage, ended - self._began, oom_kills)
        if self._reports is not None or deaths.is_crash(ending, stderr):
            words = self._family.words_of_program() if self._family is not None else ""
            self._receive().program_ended(ending, stderr, words)

    def _wait_for_stragglers(self, ended: float) -> None:
        """Wait a little: a process that holds the pipe may still write, or be an idle daemon."""
        last = monotonic()
        while self._pipe >= 0:
            now = monotonic()
            if self._reports is not None:
                last = max(last, self._reports.last_byte)
            left = min(last + _GRACE, ended + _LONGEST_GRACE) - now
            if left <= 0:
                return
            self._step(left)

    def _wait_until(self, is_done: "Callable[[], bool]", longest: float) -> bool:
        """Continue until ``is_done``, a signal to end, or ``longest`` seconds from now."""
        deadline = monotonic() + longest
        while not is_done():
            left = deadline - monotonic()
            if left <= 0 or self._is_urgent:
                return False
            self._step(left)
        return True


def _try_to_say(text: str, error: Exception) -> None:
    try:
        say(text % error)
    except Exception:  # MemoryError, or what repr() of the error raises
        pass


def is_ending(pid: int) -> bool:
    """Return whether it dumps core (proc(5): CoreDumping, since Linux 4.15) or is a zombie."""
    try:
        with open("/proc/%d/status" % pid, "rb") as file:
            status = file.read()
    except OSError:
        return False
    return b"\nCoreDumping:\t1" in status or b"\nState:\tZ" in status


def catches(pid: int, number: int) -> bool:
    """Return whether the process has a handler for the signal (proc(5): SigCgt)."""
    try:
        with open("/proc/%d/status" % pid, "rb") as file:
            caught = file.read().partition(b"\nSigCgt:")[2].split()[0]
    except (IndexError, OSError):
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def prctl(option: int, argument: int) -> bool:
    """Call prctl(2); importing ctypes itself would take 2 to 5 ms more."""
    try:
        import _ctypes

        library = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]
        function = _ctypes.dlsym(library, "prctl")
        result: int = _ctypes.call_function(function, (option, argument, 0, 0, 0))
    except (ImportError, AttributeError, OSError):
        return False
    return result == 0


def _end_as(status: int) -> "NoReturn":
    """End by the signal that ended the program, or with its status.

    This skips the interpreter's finalization, which takes 2 ms, and which PYTHONINSPECT,
    set for the program, would turn into a prompt.
    """
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    try:
        _forbid_core()
        if number in _ANY and number != _signal.SIGKILL:
            _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The C library keeps 32 and 33 for itself, and never blocks them (nptl(7)).
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number} & _ANY)
    except Exception:  # MemoryError: the status must still be right
        pass
    os._exit(128 + number)  # process 1 cannot be ended by its own signals (kill(2))


def _forbid_core() -> None:
    """Dump no core: the program's is enough. A limit of 1 also applies to a pipe (core(5))."""
    import resource

    prctl(_PR_SET_DUMPABLE, 0)
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))
    except (OSError, ValueError):
        pass
