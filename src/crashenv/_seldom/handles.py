"""``crashhandle``, and ``crashfd`` on Windows, where a descriptor is another name for a handle."""

import errno
import os
import sys

from crashenv._seldom import outputs, windows
from crashenv._seldom.settings import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

    from crashenv._seldom.settings import Settings


def adopt_passed(settings: "Settings", output: "SimpleNamespace", state: "Any") -> str:
    """Adopt ``crashhandle`` or ``crashfd``; return the item for descendants.

    Raises Problem or OSError.
    """
    handle, expected, is_pulled = settings.handle, settings.identity, False
    if handle is None:
        assert settings.fd is not None
        try:
            if expected is None and not os.get_inheritable(settings.fd):
                raise Problem("was not passed to this process")
            handle = int(windows.handle_of(settings.fd))
        except OSError as error:
            raise Problem("is not open") from error
        settings.owner = 0
    passed, fd = handle, -1
    try:
        fd = windows.adopt(handle)
        if expected is not None and not windows.is_file(fd, expected):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    except OSError:
        if fd >= 0:
            os.close(fd)
        if not settings.owner or not (settings.is_for_all or _is_worker()):
            raise Problem("is not open") from None
        fd, is_pulled = windows.adopt(handle, settings.owner), True
    try:
        if expected is not None and not windows.is_file(fd, expected):
            raise Problem("is another file")
        outputs.use_copy(output, fd, state)
    finally:
        os.close(fd)
    if is_pulled:
        # It stays open: a worker of this process may have to duplicate it.
        handle = int(windows.handle_of(output.fd))
    else:
        output.reopen = lambda current: windows.reopen(current, passed, state)
    if settings.is_for_all:
        return "crashhandle=%d:%d:%d:%d:all" % (passed, *output.identity, settings.owner)
    return "crashhandle=%d:%d:%d:%d" % (handle, *output.identity, os.getpid())


def _is_worker() -> bool:
    """Return whether multiprocessing has started this process (popen_spawn_win32.py)."""
    return "--multiprocessing-fork" in getattr(sys, "argv", ())
