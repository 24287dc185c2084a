"""Exit statuses on Windows: which of them are crashes, and which dump matches one.

A process that was ended by an exception has the exception's code as its exit status
(winnt.h, ntstatus.h). faulthandler is also called for exceptions that are handled, such
as those that ctypes turns into OSError, so a dump alone proves nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The two highest bits are the severity; from 0xF0000000 on they are small negative numbers,
# as from sys.exit(-1).
_ERRORS = range(0xC0000000, 0xF0000000)
_NO_CRASHES = (
    0xC000013A,  # Ctrl-C, Ctrl-Break, a window that was closed
    0xC0000142,  # a DLL did not start, because the session ends
)
_ABORTED = 3  # of the C runtime's abort() and raise()
_FAST_FAIL = 0xC0000409  # of abort() in most processes; __fastfail(), which no handler sees

_NAMES = {
    0xC0000005: "access violation",
    0xC0000006: "page error",
    0xC000001D: "illegal instruction",
    0xC0000025: "noncontinuable exception",
    0xC000008C: "array bounds exceeded",
    0xC000008E: "float divide by zero",
    0xC0000091: "float overflow",
    0xC0000094: "int divide by zero",
    0xC0000095: "integer overflow",
    0xC0000096: "privileged instruction",
    0xC00000FD: "stack overflow",
    0xC0000135: "DLL not found",
    0xC0000374: "heap corruption",
    _FAST_FAIL: "stack buffer overrun or abort",
    0xE06D7363: "C++ exception",
}
# What faulthandler writes for a signal, and the code of the corresponding exception.
_SIGNALS = {
    "Segmentation fault": 0xC0000005,
    "Illegal instruction": 0xC000001D,
    "Floating point exception": 0xC0000094,
    "Floating-point exception": 0xC0000094,
    "Aborted": _FAST_FAIL,
}
_EXCEPTION = "Windows fatal exception: "
_SIGNAL = "Fatal Python error: "
DUMPS = (_EXCEPTION.encode(), _SIGNAL.encode())  # how a dump of an exception begins


def is_crash(status: "Any") -> bool:
    """Return whether an unhandled exception ended the process."""
    is_error = isinstance(status, int) and _ERRORS.start <= status < _ERRORS.stop
    return is_error and status not in _NO_CRASHES


def described(status: int) -> str:
    """Return ``0xC0000005 (access violation)``."""
    if status == _ABORTED:
        return "abort (status 3)"
    name = _NAMES.get(status, "")
    return "0x%08X%s" % (status, " (%s)" % name if name else "")


def belongs(dump: bytes, status: "Any") -> bool:
    """Return whether ``dump`` matches the ``status`` with which a process ended."""
    if not isinstance(status, int):
        return False
    line = dump.partition(b"\n")[0].decode("ascii", "replace").strip()
    if line.startswith(_SIGNAL):
        return status in (_ABORTED, _FAST_FAIL, _SIGNALS.get(line[len(_SIGNAL) :]))
    if not line.startswith(_EXCEPTION):
        return False
    reason = line[len(_EXCEPTION) :]
    if reason.startswith("code 0x"):
        return reason[len("code ") :].lower() == "0x%x" % status
    return reason == _NAMES.get(status)
