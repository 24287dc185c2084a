"""faulthandler: what a dying interpreter writes by itself.

It has one descriptor. A program may want it too (PYTHONFAULTHANDLER, -X dev,
pytest, ``faulthandler.enable()``), and gets it: then both get the dump by way of
a relay, and what the program can see of faulthandler is its own doing only. It
writes without asking, so a crash output that may block has a relay too.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import ModuleType
    from typing import Any

    from crashenv._descriptor import PrivateCopy
else:
    import _signal

# Signals whose default action dumps core and that faulthandler.enable() leaves out (signal(7)).
_CORE_SIGNALS = ("SIGQUIT", "SIGSYS", "SIGTRAP", "SIGXCPU")

_faulthandler: "Any" = None
_ours = -1  # where dumps for the crash output go
_buffer = -1  # the same, if that is a relay
_relay = -1  # the one to the crash output and to where the program asked
_timeout = 0.0  # seconds that a relay waits for a reader
_asked: "tuple[Any, dict[str, Any]] | None" = None
# The signals that register() was called for, by us and by the program.
_registered: "set[int]" = set()
_of_program: "set[int]" = set()


def watch(copy: "PrivateCopy", extra: int, timeout: float) -> None:
    """Dump fatal signals to ``copy``, and every stack on signal ``extra`` if that is not 0.

    Called again when the crash output has another number.
    """
    global _ours, _buffer, _timeout
    try:
        import faulthandler

        if _faulthandler is None:
            _share(faulthandler)
        before, _buffer, _timeout = _buffer, -1, timeout
        _ours = copy.fd
        if copy.may_block:
            from crashenv import _relay as relay

            # Without one: rather no dump than a program that never ends.
            _ours = _buffer = relay.start((copy.fd,), timeout)
        _point()
        _close(before)
        if _ours < 0:
            return
        for name in _CORE_SIGNALS:
            signum = getattr(_signal, name, 0)
            if signum and signum != extra and _is_free(signum):
                # chain: the default action follows, so the killing signal stays the same.
                _faulthandler.register(signum, _ours, all_threads=True, chain=True)
                _registered.add(signum)
        if extra:
            _faulthandler.register(extra, _ours, all_threads=True, chain=False)
            _registered.add(extra)
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):
        pass  # Windows has no register(); some builds have no faulthandler


def _is_free(signum: int) -> bool:
    return signum not in _of_program and _signal.getsignal(signum) == _signal.SIG_DFL


def leave_caught_signals() -> None:
    """Leave the signals that something in C handles by now, which getsignal() cannot tell."""
    try:
        with open("/proc/self/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return
    mask = int(caught.split()[1], 16)  # bit 0 is signal 1 (proc(5))
    _of_program.update({n for n in range(1, 65) if mask >> (n - 1) & 1} - _registered)


def unwatch() -> None:
    global _ours, _buffer
    if _faulthandler is None:
        return
    before, _ours, _buffer = _buffer, -1, -1
    _point()
    for signum in _registered:
        if _is_free(signum):  # or unregister() would take the program's handler away
            _faulthandler.unregister(signum)
    _registered.clear()
    _close(before)


def _share(module: "ModuleType") -> None:
    """Take the module's place in the eyes of the program."""
    global _faulthandler, _asked
    if module.is_enabled():  # by the interpreter's own start
        _asked = sys.stderr, {}
    _faulthandler = type(sys)("faulthandler")
    vars(_faulthandler).update(vars(module))
    for function in (enable, disable, is_enabled, register, unregister):
        if hasattr(module, function.__name__):
            setattr(module, function.__name__, function)


def enable(file: "Any" = None, *args: "Any", **kwargs: "Any") -> None:
    global _asked
    if args:
        kwargs["all_threads"], *args = args  # type: ignore[assignment]
    if file is None:
        file = sys.stderr
    _faulthandler.enable(file, *args, **kwargs)  # which raises what it has to
    _asked = file, kwargs
    _point()


def disable() -> bool:
    global _asked
    was_enabled = _asked is not None
    _asked = None
    _point()
    return was_enabled


def is_enabled() -> bool:
    return _asked is not None


def register(signum: int, *args: "Any", **kwargs: "Any") -> None:
    _faulthandler.register(signum, *args, **kwargs)
    _of_program.add(signum)


def unregister(signum: int) -> bool:
    if signum in _registered and signum not in _of_program:
        return False
    _of_program.discard(signum)
    was_registered: bool = _faulthandler.unregister(signum)
    return was_registered


def _point() -> None:
    """Make faulthandler write to those who want it."""
    global _relay
    before, _relay = _relay, -1
    if _asked is None:
        if _ours >= 0:
            _faulthandler.enable(_ours)
        else:
            _faulthandler.disable()
    else:
        file, options = _asked
        if _ours >= 0:
            from crashenv import _relay as relay

            theirs = file if isinstance(file, int) else file.fileno()
            _relay = relay.start((theirs, _ours), _timeout)
        _faulthandler.enable(file if _relay < 0 else _relay, **options)
    _close(before)


def _close(fd: int) -> None:
    if fd < 0:
        return
    import os

    try:
        os.close(fd)
    except OSError:
        pass
