"""Python processes that have the crash output in their environment, but were not activated.

``opentelemetry-instrument``, for instance, puts its own folder first on PYTHONPATH, and its
sitecustomize runs no other. The kernel does not report when a process executes another
program, so each process is checked a few times after its start, less and less often.
"""

import os
from time import monotonic

from crashenv import _parent
from crashenv._monitor import deaths, printable, say

FIRST = 0.03  # seconds after the start
_GROWTH = 1.3  # of the time between two checks
_LAST = 5.0  # seconds after the start
_PATIENCE = 10.0  # seconds: an agent may load for long before it runs the next sitecustomize
_GRACE = 0.5  # seconds from the end of a process until its ending is known
_MOST = 100  # processes at a time
_LARGEST = 1 << 20  # bytes of an environment
_FILES = ("sitecustomize.py", "sitecustomize.pyc", "sitecustomize/__init__.py")


class _Process:
    def __init__(self, now: float) -> None:
        self.began = now
        self.next = now + FIRST
        self.since: float | None = None  # when it was first seen unwatched
        self.is_gone = False
        self.name = self.reason = ""


class Unwatched:
    """``pipe`` is our end, ``passed`` the number of the program's end."""

    def __init__(self, pipe: int, passed: int) -> None:
        self._path = b"/proc/%d/fd/%d" % (os.getpid(), pipe)
        self._link = os.readlink(self._path)
        self._passed = b"%d" % passed
        self._processes: dict[int, _Process] = {}
        self._said: set[str] = set()

    def add(self, pid: int) -> None:
        """Add a process that has just started."""
        if pid in self._processes or len(self._processes) < _MOST:
            self._processes[pid] = _Process(monotonic())

    def timeouts(self) -> "list[float]":
        """Return in how many seconds ``look`` has something to do."""
        now = monotonic()
        return [max(0, process.next - now) for process in self._processes.values()]

    def look(self) -> None:
        now = monotonic()
        due = [pid for pid, process in self._processes.items() if process.next <= now]
        for pid in due:
            process = self._processes[pid]
            try:
                found = self._look_at(pid)
            except OSError:  # it was reaped, or is another user's
                if process.is_gone or not process.reason:
                    del self._processes[pid]
                else:  # its ending is known soon
                    process.is_gone, process.next = True, now + _GRACE
                continue
            if found is not None:
                process.name, process.reason = found
            if not process.reason:
                process.since = None
            elif process.since is None:
                process.since = now
            elif now - process.since >= _PATIENCE:
                self.ended(pid)
                continue
            process.next = now + (now - process.began) * (_GROWTH - 1) + FIRST
            if process.since is None and now - process.began > _LAST:
                del self._processes[pid]

    def ended(self, pid: int) -> None:
        """Report an unwatched process that has ended with an error, or will stay unwatched."""
        process = self._processes.pop(pid, None)
        if process is not None and process.reason and process.reason not in self._said:
            self._said.add(process.reason)
            say(
                "%s (pid %d) is not watched: %s; install crashenv in its environment"
                % (printable(process.name), pid, printable(process.reason))
            )

    def _look_at(self, pid: int) -> "tuple[str, str] | None":
        """Return what it runs, and why it is not watched; empty texts if it is, or may be.

        Return None if it has no environment: a zombie, or for a moment in execve(2). Raise
        OSError.
        """
        place = "/proc/%d" % pid
        with open(place + "/environ", "rb") as file:
            variables = file.read(_LARGEST).split(b"\0")
        if variables == [b""]:
            return None
        if not any(self._path in variable for variable in variables):
            return "", ""
        reason = _hidden_by(place, variables)
        if not reason or not self._is_blind(place):
            return "", ""
        with open(place + "/cmdline", "rb") as file:
            command = [os.fsdecode(word) for word in file.read(_LARGEST).split(b"\0")[:-1]]
        if not command or _ignores_environment(command):
            return "", ""
        return os.path.basename(deaths.program(command)) or command[0], reason

    def _is_blind(self, place: str) -> bool:
        """Return whether it is a Python interpreter without a private copy of the crash output."""
        interpreter = os.path.basename(os.readlink(place + "/exe"))
        if not interpreter.startswith(("python", "pypy")):
            return False
        folder = os.fsencode(place + "/fd")
        for number in os.listdir(folder):
            try:
                link = os.readlink(os.path.join(folder, number))
            except OSError:  # closed meanwhile
                continue
            if link == self._link and number != self._passed:
                return False
        return True


def _hidden_by(place: str, variables: "list[bytes]") -> str:
    """Return what comes before our folder on PYTHONPATH; "" if nothing does."""
    value = b""
    for variable in variables:
        if variable.startswith(b"PYTHONPATH="):
            value = variable[11:]
    ours = _parent.folder()
    for entry in os.fsdecode(value).split(os.pathsep):
        if os.path.abspath(entry) == ours:
            return ""
        for name in _FILES:
            # As the process sees it: from its root and its working directory.
            path = os.path.join(entry, name)
            seen = place + ("/root" + path if os.path.isabs(path) else "/cwd/" + path)
            if os.path.exists(seen):
                return "%s hides crashenv's" % path
    return "PYTHONPATH was replaced"


def _ignores_environment(command: "list[str]") -> bool:
    """Return whether an option makes the interpreter ignore sitecustomize or PYTHONPATH."""
    for word in command[1:]:
        if not word.startswith("-") or word in ("-", "-c", "-m"):
            return False
        if not word.startswith("--") and set("EIS") & set(word.partition("c")[0].partition("m")[0]):
            return True
    return False
