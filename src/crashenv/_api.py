"""``set_crash_output`` and ``activate``: the same functions, called by the program itself."""

import _thread
import os

import crashenv
from crashenv._seldom import activation, faults, interpreters, outputs
from crashenv._seldom import settings as texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Optional, Protocol, Union

    class HasFileno(Protocol):
        """An object such as a file or a socket."""

        def fileno(self) -> int: ...


_LONGEST_WAIT = 10.0  # seconds, for a report that is being written


def activate() -> None:
    """Read CRASHENV or PYDEBUG as the ``.pth`` line does, once in a process.

    This is for programs whose interpreter runs no ``.pth`` file or ignores its environment:
    frozen ones, PEX, ``-I``, ``-S`` and embedded interpreters. It raises nothing: a wrong
    setting prints one line on standard error.
    """
    try:
        crashenv._start(False)
    except Exception:  # as in the .pth line: never a traceback of ours
        pass


def set_crash_output(
    file: "Union[HasFileno, int, None]",
    *,
    threads: "Literal['report', 'fatal', 'ignore']" = "report",
    traceback: "Literal['single', 'all']" = "single",
    timeout: float = texts.DEFAULT_TIMEOUT,
    limit: int = texts.DEFAULT_LIMIT,
    signal: "Optional[str]" = None,
) -> None:
    """Also write every crash of this process to ``file`` (Go: debug.SetCrashOutput).

    ``file`` is an object with ``fileno()``, a descriptor number, or None, which
    turns the crash output off. It is duplicated: the caller may close it. The
    copy that an earlier call or PYDEBUG made is closed. ``threads`` is
    ``"report"``, ``"fatal"`` or ``"ignore"``, ``traceback`` is ``"single"`` or
    ``"all"``, ``timeout`` is in seconds, ``limit`` in bytes (at least 1,024),
    ``signal`` is the name of a signal that writes the stack of every thread.

    Raises TypeError if ``file`` or a setting has a wrong type, ValueError if
    a setting's value is wrong or ``file`` is not open for writing, and OSError
    if it cannot be duplicated. The crash output does not change then.

    Any thread may call it at any time; a report that is being written is finished first.
    """
    if file is None:
        _exchange(None)
        return
    settings = texts.Settings()
    settings.threads = _one_of("threads", threads, texts.THREADS)
    settings.traceback = _one_of("traceback", traceback, texts.TRACEBACK)
    settings.timeout = float(_number("timeout", timeout, (int, float), 0))
    settings.limit = _number("limit", limit, (int,), texts.LEAST_LIMIT)
    if signal is not None and not isinstance(signal, str):
        raise TypeError("signal must be a signal's name, not %s" % type(signal).__name__)
    descriptor = _descriptor_of(file)
    state = crashenv._state
    output = outputs.new()
    try:
        if signal is not None:
            settings.signal = texts.signal_number(signal)
        outputs.apply(output, settings)
        outputs.open_source(output, descriptor, state)
    except (OverflowError, texts.Problem) as error:
        raise ValueError("file or signal: %s" % error) from None
    if not interpreters.is_main():
        activation.borrow(output, state)
    _exchange(output)


def _exchange(output: "Any") -> None:
    """Hold the lock of writing, so that no thread writes to a copy that is being closed."""
    state = crashenv._state
    lock = vars(state).setdefault("lock", _thread.allocate_lock())
    locked = lock.acquire(True, _LONGEST_WAIT)
    try:
        before = state.output
        if before is not None and before.dumps >= 0:
            faults.unwatch(state)
        if state.hold is None and output is not None:
            crashenv._use(state, None, interpreters.is_main())
        if state.hold is not None:
            faults.leave_caught_signals(state)
            crashenv._use(state, output, interpreters.is_main())
        if os.name == "nt" and output is not None:
            from crashenv._seldom import windows

            windows.take(state, output)
        if before is not None:
            outputs.close(before)
            before.fd = None
    finally:
        if locked:
            lock.release()


def _descriptor_of(file: "Any") -> int:
    fd = file.fileno() if hasattr(file, "fileno") else file
    if isinstance(fd, bool) or not isinstance(fd, int):
        raise TypeError(
            "file must have a fileno(), be a descriptor number or None, not %s"
            % type(file).__name__
        )
    return int(fd)


def _number(name: str, value: "Any", types: "tuple[type, ...]", least: int) -> "Any":
    if isinstance(value, bool) or not isinstance(value, types):
        raise TypeError("%s must be %s" % (name, " or ".join(t.__name__ for t in types)))
    if not least <= value < float("inf"):  # nan is neither
        raise ValueError("%s must be at least %d" % (name, least))
    return value


def _one_of(name: str, value: str, choices: "tuple[str, ...]") -> str:
    if not isinstance(value, str):
        raise TypeError(name + " must be a str")
    if value not in choices:
        raise ValueError(name + " must be one of " + ", ".join(choices))
    return value
