"""faulthandler: what a dying interpreter writes by itself.

It has one descriptor. A program may want it too (PYTHONFAULTHANDLER, -X dev,
pytest, ``faulthandler.enable()``), and gets it: then both get the dump by way of
a relay, and what the program can see of faulthandler is its own doing only.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import ModuleType
    from typing import Any
else:
    import _signal

# Signals whose default action dumps core and that faulthandler.enable() leaves out (signal(7)).
_CORE_SIGNALS = ("SIGQUIT", "SIGSYS", "SIGTRAP", "SIGXCPU")

_faulthandler: "Any" = None
_ours = -1
_relay = -1
_asked: "tuple[Any, dict[str, Any]] | None" = None


def watch(fd: int, extra: int) -> None:
    """Dump fatal signals to ``fd``, and every stack on signal ``extra`` if that is not 0.

    Called again when the crash output has another number.
    """
    global _ours
    try:
        import faulthandler

        if _faulthandler is None:
            _share(faulthandler)
        _ours = fd
        _point()
        for name in _CORE_SIGNALS:
            signum = getattr(_signal, name, None)
            if signum is not None and _signal.getsignal(signum) == _signal.SIG_DFL:
                # chain: the default action follows, so the killing signal stays the same.
                faulthandler.register(signum, fd, all_threads=True, chain=True)
        if extra:
            faulthandler.register(extra, fd, all_threads=True, chain=False)
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):
        pass  # Windows has no register(); some builds have no faulthandler


def unwatch(extra: int) -> None:
    global _ours
    if _faulthandler is None:
        return
    _ours = -1
    _point()
    for name in _CORE_SIGNALS:
        if hasattr(_signal, name) and hasattr(_faulthandler, "unregister"):
            _faulthandler.unregister(getattr(_signal, name))
    if extra:
        _faulthandler.unregister(extra)


def _share(module: "ModuleType") -> None:
    """Take the module's place in the eyes of the program."""
    global _faulthandler, _asked
    if module.is_enabled():  # by the interpreter's own start
        _asked = sys.stderr, {}
    _faulthandler = type(sys)("faulthandler")
    vars(_faulthandler).update(vars(module))
    for function in (enable, disable, is_enabled):
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

            _relay = relay.start(_ours, file if isinstance(file, int) else file.fileno())
        _faulthandler.enable(file if _relay < 0 else _relay, **options)
    if before >= 0:
        _close(before)


def _close(fd: int) -> None:
    import os

    try:
        os.close(fd)
    except OSError:
        pass
