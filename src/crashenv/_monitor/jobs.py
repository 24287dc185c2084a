"""A Windows job object: which processes descend from the program, and how each of them ended.

A process that has ended is forgotten when its last handle is closed, so a thread opens each
process when the job announces it. The job has no limits, lets processes break away, and kills
no process when the monitor ends.
"""

import ctypes
import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _winapi: Any
else:
    import _winapi

_library: "Any" = vars(ctypes)["WinDLL"]
_kernel32, _ntdll = _library("kernel32"), _library("ntdll")
_HANDLE = ctypes.c_void_p
for _name in ("CreateEventW", "CreateIoCompletionPort", "CreateJobObjectW"):
    getattr(_kernel32, _name).restype = _HANDLE

_COMPLETION_PORT = 7  # JobObjectAssociateCompletionPortInformation
_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_SIZE_OF_LIMITS, _LIMIT_FLAGS = 144, 16  # bytes, in a 64-bit process
_MAY_BREAK_AWAY = 0x800
_NEW_PROCESS, _EXIT_PROCESS, _ABNORMAL_EXIT = 6, 7, 8
_NOBODY_LEFT = 4
_INVALID, _INFINITE = -1, 0xFFFFFFFF
_SYNCHRONIZE, _QUERY = 0x100000, 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
_BASIC, _COMMAND_LINE = 0, 60  # of NtQueryInformationProcess
_PARENT_ID = 40  # bytes into PROCESS_BASIC_INFORMATION
_LONGEST_COMMAND, _LONGEST_NAME = 1 << 16, 1 << 15
_COUNTERS = 72  # bytes of PROCESS_MEMORY_COUNTERS
_PATIENCE = 1000  # milliseconds
_MOST_OPEN = 10_000


class Ended:
    """A process of the job that has ended with exit status ``status``; times in seconds."""

    def __init__(self, pid: int, handle: int) -> None:
        self.pid = pid
        self.handle = handle
        self.parent = parent_id(handle)
        self.command = self.origin = command_of(handle)
        self.name = self.words = ""
        self.status = 0
        self.run_time = 0.0
        self._began = monotonic()

    def finish(self) -> None:
        _winapi.WaitForSingleObject(self.handle, _PATIENCE)
        self.status = int(_winapi.GetExitCodeProcess(self.handle))
        self.run_time = monotonic() - self._began
        _winapi.CloseHandle(self.handle)


class Job:
    """``event`` is signalled when a process has ended. Raises OSError.

    If no job can be created, it is always empty.
    """

    def __init__(self) -> None:
        self.event = int(_kernel32.CreateEventW(None, False, False, None) or 0)
        self._ended: list[Ended] = []
        self._running: dict[int, Ended] = {}
        self._lock = threading.Lock()
        self._is_active = False
        self._job = _kernel32.CreateJobObjectW(None, None)

    def add(self, process: int) -> None:
        """Add the process, which does not run yet, and all processes that it starts."""
        port = _HANDLE(_kernel32.CreateIoCompletionPort(_HANDLE(_INVALID), None, None, 1))
        associated = (_HANDLE * 2)(1, port.value)
        job = _HANDLE(self._job)
        flags = bytes(_LIMIT_FLAGS) + _MAY_BREAK_AWAY.to_bytes(4, "little")
        limits = ctypes.create_string_buffer(flags, _SIZE_OF_LIMITS)
        _kernel32.SetInformationJobObject(job, _EXTENDED_LIMITS, limits, _SIZE_OF_LIMITS)
        _kernel32.SetInformationJobObject(job, _COMPLETION_PORT, associated, 16)
        if _kernel32.AssignProcessToJobObject(job, _HANDLE(process)):
            self._is_active = True
            threading.Thread(target=self._watch, args=(port,), daemon=True).start()

    def is_active(self) -> bool:
        """Return whether any of its processes is running, as far as the job has announced."""
        return self._is_active

    def ended(self) -> "list[Ended]":
        """Return the processes that have ended since the last call."""
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    def _watch(self, port: "Any") -> None:
        message, key, pid = ctypes.c_uint32(), _HANDLE(), _HANDLE()
        results = [ctypes.byref(one) for one in (message, key, pid)]
        while _kernel32.GetQueuedCompletionStatus(port, *results, _INFINITE) or pid.value:
            if message.value == _NEW_PROCESS:
                self._open(pid.value or 0)
            elif message.value in (_EXIT_PROCESS, _ABNORMAL_EXIT):
                self._close(pid.value or 0)
            elif message.value == _NOBODY_LEFT:
                self._is_active = False
                self._signal()

    def _signal(self) -> None:
        _kernel32.SetEvent(_HANDLE(self.event))

    def _open(self, pid: int) -> None:
        if len(self._running) >= _MOST_OPEN:
            return
        try:
            handle = int(_winapi.OpenProcess(_QUERY | _SYNCHRONIZE, False, pid))
            self._running[pid] = Ended(pid, handle)
        except OSError:  # it has ended, or is another user's
            pass

    def _close(self, pid: int) -> None:
        process = self._running.pop(pid, None)
        if process is None:
            return
        try:
            process.finish()
        except OSError:
            return
        with self._lock:
            self._ended.append(process)
        self._signal()


def resume(thread: int) -> None:
    _kernel32.ResumeThread(_HANDLE(thread))


def parent_id(process: int) -> int:
    """Return the process id of its parent; 0 if it is not known."""
    basic = ctypes.create_string_buffer(48)
    if _ntdll.NtQueryInformationProcess(_HANDLE(process), _BASIC, basic, len(basic), None):
        return 0
    return int.from_bytes(basic.raw[_PARENT_ID : _PARENT_ID + 8], "little")


def command_of(process: int) -> "list[str]":
    """Return the words of a process's command line (Windows 8.1 and later), else its program."""
    line = ctypes.create_string_buffer(_LONGEST_COMMAND)
    query = _ntdll.NtQueryInformationProcess
    if query(_HANDLE(process), _COMMAND_LINE, line, len(line), None):
        return _program_of(process)
    # UNICODE_STRING: its size in bytes, and a pointer to the text that follows
    size = int.from_bytes(line.raw[:2], "little")
    from crashenv._seldom import windows

    return windows.split(line.raw[16 : 16 + size].decode("utf-16le", "replace"))


def _program_of(process: int) -> "list[str]":
    name, size = ctypes.create_unicode_buffer(_LONGEST_NAME), ctypes.c_uint32(_LONGEST_NAME)
    if not _kernel32.QueryFullProcessImageNameW(_HANDLE(process), 0, name, ctypes.byref(size)):
        return []
    return [name.value]


def usage(process: int) -> "tuple[float | None, float | None, int | None]":
    """Return user and system time in seconds and peak memory in bytes; None if not known."""
    times = [ctypes.c_uint64() for _ in range(4)]
    user = system = peak = None
    if _kernel32.GetProcessTimes(_HANDLE(process), *map(ctypes.byref, times)):
        user, system = times[3].value / 1e7, times[2].value / 1e7
    # PROCESS_MEMORY_COUNTERS, which begins with its own size
    memory = ctypes.create_string_buffer(_COUNTERS.to_bytes(4, "little"), _COUNTERS)
    if _kernel32.K32GetProcessMemoryInfo(_HANDLE(process), memory, _COUNTERS):
        peak = int.from_bytes(memory.raw[8:16], "little") or None
    return user, system, peak
