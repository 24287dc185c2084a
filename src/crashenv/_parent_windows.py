"""What the monitor passes to the program on Windows: a handle, and its name."""

import os

from crashenv import _parent
from crashenv._seldom import windows
from crashenv._seldom.settings import replaced, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    _winapi: Any
else:
    import _winapi

_INBOUND, _OVERLAPPED, _FIRST_INSTANCE = 1, 0x40000000, 0x80000
_REJECT_REMOTE_CLIENTS = 8
_GENERIC_WRITE, _OPEN_EXISTING = 0x40000000, 3
_SIZE = 1 << 20  # bytes of the pipe's buffer
_CHUNK = 1 << 16
_IO_PENDING = 997
INFINITE = 0xFFFFFFFF


def open_pair(is_overlapped: bool) -> "tuple[int, int]":
    """Return the handles of a pipe's two ends, the reading end first. Raise OSError.

    The pipe has a name: only named pipes can be told apart in every version of Windows.
    """
    name = r"\\.\pipe\crashenv-%d-%s" % (os.getpid(), os.urandom(8).hex())
    access = _INBOUND | _FIRST_INSTANCE | (_OVERLAPPED if is_overlapped else 0)
    reader = _winapi.CreateNamedPipe(name, access, _REJECT_REMOTE_CLIENTS, 1, _SIZE, _SIZE, 0, 0)
    try:
        writer = _winapi.CreateFile(name, _GENERIC_WRITE, 0, 0, _OPEN_EXISTING, 0, 0)
    except OSError:
        _winapi.CloseHandle(reader)
        raise
    return reader, writer


class Source:
    """The reading end of a pipe, which can be waited for; ``passed`` is the other end's handle.

    Raises OSError.
    """

    def __init__(self) -> None:
        self._pending: Any = None
        self._has_ended = False
        self._handle, self.passed = open_pair(is_overlapped=True)
        windows.set_inheritable(self.passed)
        self.identity = windows.identity_of_pipe(self.passed)

    def event(self) -> int:
        """Return an event for when there is something to take; 0 if there is something already."""
        if self._pending is None and not self._has_ended:
            try:
                self._pending, error = _winapi.ReadFile(self._handle, _CHUNK, overlapped=True)
            except OSError:  # the last writer has closed its end
                self._has_ended = True
            else:
                if error == _IO_PENDING:
                    return int(self._pending.event)
                return 0
        return 0 if self._pending is None else int(self._pending.event)

    def take(self) -> "bytes | None":
        """Return what has come; None if nothing has, ``b""`` at the end."""
        self.event()
        if self._has_ended:
            return b""
        if _winapi.WaitForSingleObject(self._pending.event, 0):
            return None
        pending, self._pending = self._pending, None
        try:
            pending.GetOverlappedResult(True)
        except OSError:
            self._has_ended = True
            return b""
        return bytes(pending.getbuffer())

    def wait(self, milliseconds: int) -> bool:
        """Wait; return whether there is something to take."""
        event = self.event()
        try:
            return not event or not _winapi.WaitForSingleObject(event, milliseconds)
        except InterruptedError:  # a signal
            return False

    def close_passed(self) -> None:
        if self.passed:
            _winapi.CloseHandle(self.passed)
            self.passed = 0

    def close(self) -> None:
        """Close both ends."""
        self.close_passed()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._handle:
            _winapi.CloseHandle(self._handle)
            self._handle = 0


def environment(
    source: Source,
    base: "Mapping[str, str] | None" = None,
    name: str = "",
    is_for_all: bool = False,
) -> "dict[str, str]":
    """Do as ``_parent.environment``; ``is_for_all`` lets any descendant duplicate our handle.

    Raises OSError once the passed end is closed.
    """
    if not source.passed:
        raise OSError("the crash output is closed")
    environment = dict(os.environ if base is None else base)
    name = name or variable(environment)
    item = "crashhandle=%d:%d:%d:%d" % (source.passed, *source.identity, os.getpid())
    before = replaced(
        environment.get(name, environment.get(variable(environment), "")),
        ("crashfd", "crashhandle", "crashfile"),
        item + (":all" if is_for_all else ""),
    )
    environment[name] = before.lstrip(",")
    paths = [_parent.folder(), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment
