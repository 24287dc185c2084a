"""The crash output of this process, and what feeds it.

Threads share little, and none of it relies on the GIL. ``replace`` exchanges one
reference, here and in ``_hooks``. A private copy is opened and closed by who holds
the writer's lock. ``_capture``'s lock guards which streams are read along, and each
thread has an entry of its own there. The crash side is executed under the package's
lock. faulthandler is pointed elsewhere by one thread at a time, as it is without us.
"""

import _thread
import atexit
import os
import sys

import crashenv
from crashenv import _faults, _hooks
from crashenv._descriptor import PrivateCopy, is_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from crashenv._settings import Settings
else:
    import _signal

_current: "CrashOutput | None" = None
_exit_registered = False


def _is_main_interpreter() -> bool:
    if hasattr(_thread, "_is_main_interpreter"):  # 3.12 and later
        return bool(_thread._is_main_interpreter())
    try:
        _signal.signal(0, _signal.SIG_DFL)
    except ValueError as error:
        # "signal number out of range", unless "signal only works in main thread
        # of the main interpreter" comes first.
        if "main interpreter" not in str(error):
            return True
    threading = sys.modules.get("threading")
    return threading is not None and threading.main_thread().ident != _thread.get_ident()


IN_MAIN_INTERPRETER = _is_main_interpreter()


class CrashOutput:
    """Where reports go: a private copy, and the settings that bound them.

    Without a ``source`` and a ``path`` it writes nowhere, but the rules for
    threads still hold. Raises Problem or OSError.
    """

    def __init__(self, settings: "Settings", source: "int | None", path: "str | None") -> None:
        self.limit = settings.limit
        self.threads = settings.threads
        self.traceback = settings.traceback
        self.timeout = settings.timeout
        self._signal = settings.signal
        self._source = source
        self._template = path
        self._watched = -1
        self._copy: PrivateCopy | None = None
        self._open()

    def _open(self) -> None:
        self._copy = self._new_copy()

    def _new_copy(self) -> "PrivateCopy | None":
        if self._template is not None:
            from crashenv._crashfile import expand_pid

            return PrivateCopy(path=expand_pid(self._template))
        return None if self._source is None else PrivateCopy(self._source)

    def _is_of_this_process(self) -> bool:
        return "%p" in (self._template or "").replace("%%", "")

    def begin_report(self) -> "PrivateCopy | None":
        """What to write a report to. No import: a forked child may find its lock held."""
        return self._copy

    def end_report(self, copy: PrivateCopy) -> None:
        self.watch_signals()

    def passed_descriptor(self) -> "int | None":
        """The descriptor that a descendant needs, if it still is the crash output."""
        copy = self._copy
        if copy is not None and copy.source is not None and is_file(copy.source, copy.identity):
            return copy.source
        return None

    def watch_signals(self) -> None:
        """Point faulthandler at the private copy, wherever that is now."""
        if self._copy is None or not IN_MAIN_INTERPRETER:
            return  # elsewhere faulthandler would point at an interpreter that goes away
        if self._copy.fd != self._watched:
            self._watched = self._copy.fd
            _faults.watch(self._copy, self._signal, self.timeout)

    def after_fork_in_child(self) -> None:
        if self._is_of_this_process() and self._copy is not None:
            self._copy.close()
            self._open()
            self.watch_signals()

    def at_exit(self) -> None:
        if self._is_of_this_process() and self._copy is not None:
            from crashenv._crashfile import remove_if_empty

            remove_if_empty(self._copy)

    def close(self) -> None:
        if self._watched >= 0:
            _faults.unwatch()
        if self._copy is not None:
            self._copy.close()


def replace(output: "CrashOutput | None") -> None:
    """Report to ``output`` from now on, and close the one before."""
    global _current, _exit_registered
    before, _current = _current, output
    if before is not None:
        before.close()
    _hooks.install(output)
    if output is None:
        return
    crashenv.read_crash_side()
    output.watch_signals()
    if not _exit_registered:
        _exit_registered = True
        # First registered, so last called: after the program's own.
        atexit.register(at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork_in_child)


def at_exit() -> None:
    try:
        _hooks.at_exit()
        if _current is not None:
            _current.at_exit()
    except BaseException:  # atexit would print it
        pass


def _after_fork_in_child() -> None:
    try:
        crashenv.after_fork_in_child()
        if _current is not None:
            _current.after_fork_in_child()
    except BaseException:  # would be printed as an ignored exception
        pass
