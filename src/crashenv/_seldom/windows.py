"""Windows: handles instead of descriptors, the identity of files, writes that never wait.

``crashhandle=H[:DEV:INO[:PID[:all]]]`` is ``crashfd`` for Windows: H is an inheritable handle,
whose value a parent passes. A descriptor that the C runtime passes (``crashfd=N``) is passed
to descendants by its handle, which has the same value in each of them. Workers of
multiprocessing inherit no handle at all, so they duplicate H of the process PID; with
``all``, which a monitor sets, so does any descendant that did not inherit it.

DEV and INO are a volume's serial number and the index of a file. ``os.fstat`` returns (0, 0)
for every pipe; here INO is a hash of the name that the kernel gives a pipe or, without a
name, the index in the pipe file system.

This module is imported only if ``os.name`` is ``"nt"``.
"""

import errno
import os
import stat
from os import fstat as _fstat
from os import write as _write

from crashenv._seldom.settings import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

    _winapi: Any
    msvcrt: Any
else:
    import _winapi
    import msvcrt

_kernel32: "Any" = None
_ntdll: "Any" = None
try:
    import ctypes
except ImportError:  # in a sub-interpreter, or left out of a frozen program
    pass
else:
    # Private objects: their types and error settings are not shared with other code.
    _library: "Any" = vars(ctypes)["WinDLL"]
    _kernel32, _ntdll = _library("kernel32"), _library("ntdll")
    _HANDLE, _buffer = ctypes.c_void_p, ctypes.create_string_buffer
    _kernel32.CreateMutexW.restype = _HANDLE
    _kernel32.CreateMutexW.argtypes = [_HANDLE, ctypes.c_int, ctypes.c_wchar_p]
    _kernel32.ReleaseMutex.argtypes = [_HANDLE]
    _kernel32.WaitForSingleObject.argtypes = [_HANDLE, ctypes.c_uint32]

_PIPE, _CHARACTERS = 1, 2  # instead of a volume, for files without one
_FILE_NAME_INFO = 2  # of GetFileInformationByHandleEx
_FILE_INTERNAL_INFORMATION = 6  # of NtQueryInformationFile: the file's index
_LONGEST_NAME = 1 << 10  # bytes
_WRITE_DATA, _APPEND_DATA = 2, 4
_SYNCHRONIZE, _QUERY, _READ_ATTRIBUTES = 0x100000, 0x1000, 0x80
_READ = 0x80000000  # GENERIC_READ
_SHARE_ALL = 7  # read, write and delete, which rename needs too
_OPEN_EXISTING, _OPEN_ALWAYS = 3, 4
_NORMAL, _OPEN_REPARSE_POINT = 0x80, 0x200000
_DUP_HANDLE, _SAME_ACCESS = 0x40, 2
_PIPE_NOWAIT = 1
_INHERIT = 1  # HANDLE_FLAG_INHERIT
_IS_REPARSE_POINT = 0x400
_LINKS = (0xA000000C, 0xA0000003)  # IO_REPARSE_TAG_SYMLINK, _MOUNT_POINT
_HIGHEST = 2047  # the C runtime allocates its tables, of 64 descriptors each, up to the number
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_FULL = errno.EAGAIN
_GONE = (errno.EPIPE, errno.EBADF)
_PIECE = 4096
_WAIT_OBJECT_0, _WAIT_ABANDONED = 0, 0x80
_CTRL_BREAK_EVENT = 1

# A program may replace functions in the modules before a crash.
_is_pipe = stat.S_ISFIFO
handle_of: "Any" = msvcrt.get_osfhandle

_mutexes: "dict[tuple[int, int], int]" = {}


# --- the identity of files


def fstat(descriptor: int) -> "tuple[int, int, int]":
    """Return ``st_mode``, ``st_ino`` and ``st_dev``, also for pipes. Raise OSError."""
    status = _fstat(descriptor)
    if _is_pipe(status.st_mode):
        return status.st_mode, _index_of_pipe(handle_of(descriptor)), _PIPE
    if stat.S_ISCHR(status.st_mode):
        return status.st_mode, 0, _CHARACTERS
    return of(status)


def of(status: "os.stat_result") -> "tuple[int, int, int]":
    """Return the same for a file on a volume.

    Up to 3.11, ``st_dev`` is the lower half of its value from 3.12 on.
    """
    return status.st_mode, status.st_ino, status.st_dev & 0xFFFFFFFF


def identity_of_pipe(handle: int) -> "tuple[int, int]":
    """Return the identity of a pipe. Raise OSError."""
    return _PIPE, _index_of_pipe(handle)


def _index_of_pipe(handle: int) -> int:
    if _kernel32 is None:
        raise OSError(errno.ENXIO, "pipes cannot be told apart without ctypes")
    name, known = _buffer(_LONGEST_NAME), _HANDLE(handle)
    if _kernel32.GetFileInformationByHandleEx(known, _FILE_NAME_INFO, name, _LONGEST_NAME):
        size = int.from_bytes(name.raw[:4], "little")
        text = name.raw[4 : 4 + size]
        if text.strip(b"\\\0"):
            return _hash(text)
    status, index = _buffer(16), _buffer(8)
    failed = _ntdll.NtQueryInformationFile(known, status, index, 8, _FILE_INTERNAL_INFORMATION)
    if failed or not any(index.raw):
        raise OSError(errno.ENXIO, "a pipe without a name")
    return int.from_bytes(index.raw, "little")


def _hash(data: bytes) -> int:
    """Return FNV-1a of 64 bits (draft-eastlake-fnv)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def is_file(descriptor: int, expected: "tuple[int, int] | None") -> bool:
    try:
        _, index, device = fstat(descriptor)
    except (OSError, OverflowError):
        return False
    return (device, index) == expected


# --- opening


def open_append(path: str) -> int:
    """Open for appending, also with other writers; the file can still be renamed and removed.

    Raises Problem or OSError.
    """
    fd = _open(path, _OPEN_REPARSE_POINT)
    if os.fstat(fd).st_file_attributes & _IS_REPARSE_POINT:  # type: ignore[attr-defined, unused-ignore]
        os.close(fd)
        tag = os.lstat(path).st_reparse_tag  # type: ignore[attr-defined, unused-ignore]
        if tag in _LINKS:
            raise Problem("is a symbolic link")
        fd = _open(path, 0)  # for example, a file that is stored in the cloud
    return fd


def open_to_read(path: str) -> int:
    """Open for reading; the file can still be renamed and removed. Raise OSError."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    try:
        handle = _winapi.CreateFile(path, _READ, _SHARE_ALL, 0, _OPEN_EXISTING, _NORMAL, 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return descriptor(handle, os.O_RDONLY)


def _open(path: str, flags: int) -> int:
    access = _APPEND_DATA | _SYNCHRONIZE | _READ_ATTRIBUTES
    try:
        handle = _winapi.CreateFile(path, access, _SHARE_ALL, 0, _OPEN_ALWAYS, _NORMAL | flags, 0)
    except OSError as error:
        if error.errno is None or error.errno == errno.EINVAL:
            raise Problem("cannot be opened: %s" % error) from None
        raise
    return descriptor(handle, os.O_APPEND)


def descriptor(handle: int, flags: int = 0) -> int:
    """Return a descriptor in binary mode, which owns ``handle``. Raise OSError."""
    try:
        fd: int = msvcrt.open_osfhandle(handle, _BINARY | flags)
    except BaseException:
        _winapi.CloseHandle(handle)
        raise
    return fd


def adopt(handle: int, pid: int = 0) -> int:
    """Return a descriptor of a copy, not inheritable, of a ``handle`` of process ``pid`` or ours.

    Raise OSError.
    """
    current = _winapi.GetCurrentProcess()
    source = _winapi.OpenProcess(_DUP_HANDLE, False, pid) if pid else current
    try:
        own = _winapi.DuplicateHandle(source, handle, current, 0, False, _SAME_ACCESS)
    finally:
        if pid:
            _winapi.CloseHandle(source)
    return descriptor(own)


def duplicate_high(fd: int) -> int:
    """Return a copy that is not inherited, with a number that ordinary opens do not reach.

    Raise OSError.
    """
    for number in range(_HIGHEST, _HIGHEST - 64, -1):
        try:
            os.fstat(number)
        except OSError:
            return os.dup2(fd, number, inheritable=False)
    return os.dup(fd)


def copy_of(fd: int) -> "tuple[int, bool]":
    """Return a copy of ``fd``, and whether a write to it may block. Raise Problem or OSError.

    PIPE_NOWAIT belongs to the end of a pipe, in all processes that hold it, so it is not set
    if the program prints into the same pipe.
    """
    mode, index, device = fstat(fd)
    if stat.S_ISDIR(mode):
        raise Problem("is a directory")
    handle = handle_of(fd)
    if not _is_writable(handle):
        raise Problem("is not open for writing")
    may_block = stat.S_ISCHR(mode)  # a console blocks while text is being selected
    if stat.S_ISFIFO(mode):
        may_block = any(is_file(number, (device, index)) for number in (0, 1, 2))
        try:
            if not may_block:
                _winapi.SetNamedPipeHandleState(handle, _PIPE_NOWAIT, None, None)
        except OSError:  # it may not be changed
            may_block = True
    return adopt(handle), may_block


def _is_writable(handle: int) -> bool:
    """Check the access that was granted: a write of no bytes is a message in some pipes."""
    if _ntdll is None:
        return True
    info = _buffer(56)  # PUBLIC_OBJECT_BASIC_INFORMATION
    if _ntdll.NtQueryObject(_HANDLE(handle), 0, info, len(info), None):
        return True
    return bool(int.from_bytes(info.raw[4:8], "little") & (_WRITE_DATA | _APPEND_DATA))


def set_inheritable(handle: int) -> None:
    """Make the handle inheritable. Raise OSError."""
    if not _kernel32.SetHandleInformation(_HANDLE(handle), _INHERIT, _INHERIT):
        raise OSError("a handle that cannot be inherited")


def open_own_process() -> int:
    """Return an inheritable handle of this process, to wait for its end. Raise OSError."""
    return int(_winapi.OpenProcess(_SYNCHRONIZE | _QUERY, True, os.getpid()))


def close(handle: int) -> None:
    _winapi.CloseHandle(handle)


def reopen(current: "SimpleNamespace", handle: int, state: "Any") -> None:
    """Make another copy of ``handle`` if ours was closed and it still is that file."""
    if is_file(current.fd, current.identity):
        return
    try:
        fd = adopt(handle)
    except OSError:
        return
    try:
        if is_file(fd, current.identity):
            dumps = current.dumps == current.fd
            current.fd = duplicate_high(fd)
            if dumps:
                current.dumps = current.fd
                state.use(state, current)
    finally:
        os.close(fd)


# --- what a crash uses in place of os


def take(state: "Any", output: "SimpleNamespace") -> None:
    """Make reports use the functions below, once the start has installed the hooks."""
    state.taken.update(fstat=fstat, write=write, lockf=lockf)
    if output.signal:
        _dump_on_break(state)


def write(descriptor: int, data: "bytes | memoryview") -> int:
    """Write like ``os.write``. Raise BlockingIOError if a pipe is full.

    A pipe in PIPE_NOWAIT mode accepts either everything or nothing, so less and less is
    tried. The error of a full pipe differs: EAGAIN from 3.12 on, ENOSPC before, in Wine
    whatever the last error was. So all errors except those of a reader or a copy that has
    gone are taken for "full".
    """
    if not _is_pipe(_fstat(descriptor).st_mode):
        return _write(descriptor, data)
    size = min(len(data), _PIECE)
    while size:
        try:
            return _write(descriptor, data[:size])
        except OSError as error:
            if error.errno in _GONE:
                raise
        size //= 2
    raise BlockingIOError(_FULL, "full")


def lockf(descriptor: int, command: int, length: int) -> None:
    """Lock a named mutex instead of a record lock: it also excludes other processes.

    The kernel releases it when its holder ends. ``command`` is F_TLOCK (2) or F_ULOCK (0).
    Raise BlockingIOError, OSError.
    """
    if _kernel32 is None:
        raise OSError("no locks without ctypes")
    _, index, device = fstat(descriptor)
    mutex = _mutexes.get((device, index))
    if mutex is None:
        mutex = _kernel32.CreateMutexW(None, False, "Global\\crashenv-%x-%x" % (device, index))
        if not mutex:  # another user's
            raise OSError("no such lock for us")
        _mutexes[device, index] = mutex
    if command == 0:
        _kernel32.ReleaseMutex(mutex)
    elif _kernel32.WaitForSingleObject(mutex, 0) not in (_WAIT_OBJECT_0, _WAIT_ABANDONED):
        raise BlockingIOError(_FULL, "locked")


# --- crashsignal=BREAK


def _dump_on_break(state: "Any") -> None:
    """Write the stack of every thread at Ctrl-Break, and continue.

    Windows calls the handler in a separate thread, so it does not wait for the main
    thread, as a handler of ``signal.signal`` would. The program's own handler comes first.
    """
    if _kernel32 is None or "handler" in vars(state).get("anchors", {}):
        return
    signals = __import__("_signal")

    def handler(event: int) -> bool:
        output = state.output
        if event != _CTRL_BREAK_EVENT or output is None or not output.signal:
            return False
        if signals.getsignal(output.signal) != signals.SIG_DFL or output.dumps < 0:
            return False
        import faulthandler

        try:
            faulthandler.dump_traceback(output.dumps, True)
        except Exception:  # closed, full
            pass
        return True

    call: "Any" = vars(ctypes)["WINFUNCTYPE"](ctypes.c_int, ctypes.c_uint32)(handler)
    state.__dict__.setdefault("anchors", {})["handler"] = call
    _kernel32.SetConsoleCtrlHandler(call, True)


# --- names


def host() -> str:
    name = os.environ.get("COMPUTERNAME", "")
    if not name:
        import _socket

        name = _socket.gethostname()
    return name


def original_argv() -> "list[str]":
    """Return the command line, split as by the C runtime; ``sys.orig_argv`` from 3.10 on."""
    if _kernel32 is None:
        return []
    _kernel32.GetCommandLineW.restype = ctypes.c_wchar_p
    return split(_kernel32.GetCommandLineW())


def split(line: str) -> "list[str]":
    """Return the words of a command line."""
    shell32 = _library("shell32")
    shell32.CommandLineToArgvW.restype = ctypes.POINTER(ctypes.c_wchar_p)
    count = ctypes.c_int()
    words = shell32.CommandLineToArgvW(ctypes.c_wchar_p(line), ctypes.byref(count))
    return [words[index] for index in range(count.value)]
