"""``set_crash_output``: the same core, for a program that asks for it itself."""

from crashenv import _faults, _settings
from crashenv._output import CrashOutput, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_crash_output(
    file: "Any",
    *,
    threads: str = "report",
    traceback: str = "single",
    timeout: float = _settings.DEFAULT_TIMEOUT,
    limit: int = _settings.DEFAULT_LIMIT,
    signal: "str | None" = None,
) -> None:
    """Write every crash of this process to ``file`` too (Go: debug.SetCrashOutput).

    ``file`` is an object with ``fileno()``, a descriptor number, or None, which
    turns the crash output off. It is duplicated: the caller may close it. The
    copy that an earlier call or PYDEBUG made is closed. ``threads`` is
    ``"report"``, ``"fatal"`` or ``"ignore"``, ``traceback`` ``"single"`` or
    ``"all"``, ``timeout`` in seconds, ``limit`` in bytes (1,024 at least),
    ``signal`` the name of a signal that writes every thread's stack.

    Raises TypeError if ``file`` or a setting is of a wrong type, ValueError if
    a setting's value is wrong or ``file`` is not open for writing, and OSError
    if it cannot be duplicated. The crash output then stays what it was.
    """
    if file is None:
        replace(None)
        return
    settings = _settings.Settings()
    settings.threads = _one_of("threads", threads, _settings.THREADS)
    settings.traceback = _one_of("traceback", traceback, _settings.TRACEBACK)
    settings.timeout = float(_number("timeout", timeout, (int, float), 0))
    settings.limit = _number("limit", limit, (int,), _settings.LEAST_LIMIT)
    try:
        if signal is not None:
            if not isinstance(signal, str):
                raise TypeError("signal must be a signal's name")
            settings.signal = _settings.signal_number(signal)
        output = CrashOutput(settings, _descriptor_of(file), None)
    except (OverflowError, _settings.Problem) as error:
        raise ValueError(str(error)) from None
    _faults.leave_caught_signals()
    replace(output)


def _descriptor_of(file: "Any") -> int:
    fd = file.fileno() if hasattr(file, "fileno") else file
    if isinstance(fd, bool) or not isinstance(fd, int):
        raise TypeError("file must have a fileno(), be a descriptor number or None")
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
