"""How a program ended, and the record of its death, which it could not write itself."""

import os

from crashenv._monitor import ntstatus, oom

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from resource import struct_rusage

    from crashenv.records import Ending
else:
    import _signal

# Their default action dumps core (signal(7)).
CORE_SIGNALS = (
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGSEGV",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGSYS",
)
_FATAL = b"Fatal Python error: "


def ending(
    status: int, usage: "struct_rusage", run_time: float, oom_kills: "int | None"
) -> "Ending":
    """Return the record's ``ending``: times in seconds, ``peak_memory`` in bytes.

    ``oom_kills`` is how many processes of the cgroup the OOM killer has killed meanwhile.
    """
    is_signal = os.WIFSIGNALED(status)
    peak, limit = oom.memory()
    return {
        "status": None if is_signal else os.WEXITSTATUS(status),
        "signal": signal_name(os.WTERMSIG(status)) if is_signal else None,
        "core": os.WCOREDUMP(status),
        "run_time": round(run_time, 6),
        "user_time": round(usage.ru_utime, 6),
        "system_time": round(usage.ru_stime, 6),
        "peak_memory": usage.ru_maxrss << 10,  # in KiB (getrusage(2))
        "oom_kills": oom_kills,
        "cgroup_peak": peak,
        "cgroup_limit": limit,
    }


def is_crash(ending: "Ending", stderr: "bytes | None") -> bool:
    """Return whether the program died in a way that it could not report itself.

    An interpreter that cannot start exits with status 1 (PEP 587), as any program
    may; only its output tells the difference.
    """
    if ending["signal"] == "SIGKILL" or is_core_signal(ending):
        return True
    if ntstatus.is_crash(ending["status"]):
        return True
    return ending["status"] == 1 and fatal_error(stderr)[0] != b""


def is_core_signal(ending: "Ending") -> bool:
    return ending["signal"] in CORE_SIGNALS


def fatal_error(stderr: "bytes | None") -> "tuple[bytes, str]":
    """Return what ``Py_FatalError`` wrote, which is a program's last output, and the reason.

    It disables faulthandler first.
    """
    text = stderr or b""
    start = (b"\n" + text).rfind(b"\n" + _FATAL)
    if start < 0:
        return b"", ""
    line = text[start + len(_FATAL) :].partition(b"\n")[0]
    return text[start:], line.decode("utf-8", "backslashreplace")


def ending_of_member(
    status: "int | None",
    run_time: float,
    oom_kills: "int | None",
    times: "tuple[float, float] | None" = None,
) -> "Ending":
    """Return the ``ending`` of a descendant; only its parent could find out more."""
    user, system = times or (None, None)
    is_signal = status is not None and os.WIFSIGNALED(status)
    peak, limit = oom.memory()
    return {
        "status": None if status is None or is_signal else os.WEXITSTATUS(status),
        "signal": signal_name(os.WTERMSIG(status or 0)) if is_signal else None,
        "core": status is not None and os.WCOREDUMP(status),
        "run_time": round(run_time, 6),
        "user_time": user,
        "system_time": system,
        "peak_memory": None,
        "oom_kills": oom_kills,
        "cgroup_peak": peak,
        "cgroup_limit": limit,
    }


def text_of_member(ending: "Ending", pid: int, parent: int, dump: bytes) -> str:
    """Return the text of the record of a descendant's death."""
    text = "%s\nProcess %d, child of %d, run time %.3f s" % (
        cause(ending),
        pid,
        parent,
        ending["run_time"],
    )
    if ending["user_time"] is not None and ending["system_time"] is not None:
        text += ", user %.2f s, system %.2f s" % (ending["user_time"], ending["system_time"])
    text += _cgroup(ending) + "\n"
    return text + dump.decode("utf-8", "backslashreplace")


def cause(ending: "Ending") -> str:
    """Describe the cause of death in a few words."""
    if ending["signal"] is None and ending["status"] is None:
        return "ended without a clean exit"
    if ending["signal"] is None and ending["status"] != 1:
        return "ended by %s" % ntstatus.described(ending["status"] or 0)
    if ending["signal"] is None:
        return "exited with status %s before the program started" % ending["status"]
    if ending["signal"] == "SIGKILL" and ending["oom_kills"]:
        return "killed by SIGKILL from the OOM killer"
    return "killed by %s%s" % (ending["signal"], " (core dumped)" if ending["core"] else "")


def text(ending: "Ending", reason: str, dump: bytes) -> str:
    """Return the text of a death's record: the cause, the resources used, and the native dump."""
    message = "%s\nRun time %.3f s, user %.3f s, system %.3f s, peak memory %.1f MiB%s\n%s" % (
        "%s: %s" % (cause(ending), reason) if reason else cause(ending),
        ending["run_time"],
        ending["user_time"] or 0,
        ending["system_time"] or 0,
        (ending["peak_memory"] or 0) / (1 << 20),
        _cgroup(ending),
        dump.decode("utf-8", "backslashreplace"),
    )
    return message if message.endswith("\n") else message + "\n"


def _cgroup(ending: "Ending") -> str:
    """Describe the cgroup's memory; together with SIGKILL it shows a lack of memory."""
    peak, limit = ending.get("cgroup_peak"), ending.get("cgroup_limit")
    if peak is None or limit is None:
        return ""
    return "; cgroup peak %.1f MiB of %.1f MiB" % (peak / (1 << 20), limit / (1 << 20))


def program(command: "Sequence[str]") -> str:
    """Return the script or module that a Python interpreter runs, else the command's name."""
    rest = list(command[1:])
    if os.path.basename(command[0]).startswith(("python", "pypy")):
        while rest:
            argument = rest.pop(0)
            if argument in ("-m", "-W", "-X") and rest:
                value = rest.pop(0)
                if argument == "-m":
                    return value
            elif argument == "-c" or not argument.startswith("-"):
                return argument
    return command[0]


def signal_name(number: int) -> str:
    names = [name for name in dir(_signal) if name.startswith("SIG") and name[3] != "_"]
    names = [name for name in names if getattr(_signal, name) == number]
    # If there are two, the first of SIGABRT, SIGIOT; SIGCHLD, SIGCLD; SIGIO, SIGPOLL.
    return names[0] if names else "SIG%d" % number
