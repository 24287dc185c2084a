"""``crashenv dump``: ask a running process for the stacks of all its threads."""

import os
import sys
from time import monotonic, sleep

from crashenv import _store
from crashenv._cli.list import STORE
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import printable, write
from crashenv._seldom import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crashenv._cli.options import Values

_FAILED = 1
_LONGEST = 10.0  # seconds for the dump to arrive
_PAUSE = 0.02


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("--timeout: %r is not a number of seconds" % text) from None


_COMMAND = Command(
    "dump",
    "[OPTION...] PID",
    """\
Print the stacks of all threads of a running process, and leave it running.

It must have been started by "crashenv run", or with "crashsignal" among its settings:
the process writes the dump itself when that signal arrives. The signal is sent only
if the process catches it, so it cannot end the process.
""",
    (
        STORE,
        Option("--timeout", "SECONDS", "how long to wait for the dump (10)", _seconds),
    ),
    """\
exit status:
  0  the stacks were printed
  1  the process cannot be asked, or did not answer
  2  the options are wrong

example:
  crashenv dump $(pgrep -f app.py)
""",
    most=1,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _dump)


def _dump(values: "Values") -> int:
    if len(values.operands) != 1 or not values.operands[0].isdigit():
        raise UsageError("needs the PID of a process")
    if os.name != "posix" or not os.path.isdir("/proc/self/fd"):
        raise UsageError("needs /proc")
    pid = int(values.operands[0])
    try:
        asked, given = _settings_of(pid)
        arrived = _place_of(asked, given, pid, values["store"])
        os.kill(pid, asked.signal)
    except (OSError, settings.Problem) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sys.stderr.write("crashenv dump: %d: %s\n" % (pid, printable(reason)))
        return _FAILED
    longest = values["timeout"] or _LONGEST
    deadline = monotonic() + longest
    while True:
        text = arrived()
        if text:
            write("".join(printable(line) + "\n" for line in text.rstrip("\n").split("\n")))
            return 0
        if monotonic() > deadline:
            sys.stderr.write("crashenv dump: %d: no dump within %g s\n" % (pid, longest))
            return _FAILED
        sleep(_PAUSE)


def _settings_of(pid: int) -> "tuple[settings.Settings, dict[str, str]]":
    """Return what it was started with. Raise OSError, or Problem if it does not listen."""
    with open("/proc/%d/environ" % pid, "rb") as file:
        items = [os.fsdecode(item).partition("=") for item in file.read().split(b"\0")]
    given = {name: value for name, _, value in items}
    asked, _ = settings.parse(given.get(settings.variable(given), ""))
    if not asked.signal:
        raise settings.Problem("was started without crashsignal, and not by 'crashenv run'")
    with open("/proc/%d/status" % pid) as status:
        caught = next(line for line in status if line.startswith("SigCgt:")).split()[1]
    if not int(caught, 16) >> (asked.signal - 1) & 1:
        raise settings.Problem("does not catch its crashsignal, which would end it")
    return asked, given


def _place_of(
    asked: "settings.Settings", given: "dict[str, str]", pid: int, folder: "str | None"
) -> "Callable[[], str]":
    """Return a function that returns the dump, once it has arrived."""
    if asked.path is not None:
        from crashenv._seldom import crashfile

        path = crashfile.expand_pid(crashfile.expand(asked.path), pid)
        path = os.path.join("/proc/%d/cwd" % pid, path)
        return _growth(path)
    path = "/proc/%d/fd/%d" % (pid, asked.fd or 0)
    if os.path.isfile(path):
        return _growth(path)
    return _new_record(folder or _store.default_folder(), pid)


def _growth(path: str) -> "Callable[[], str]":
    try:
        before = os.stat(path).st_size
    except FileNotFoundError:
        before = 0
    sizes = [before]

    def arrived() -> str:
        """Return everything that was written, once no more is being written."""
        with open(path, "rb") as file:
            file.seek(before)
            data = file.read()
        is_whole = len(data) == sizes[0] - before and data.endswith(b"\n")
        sizes[0] = before + len(data)
        return data.decode("utf-8", "backslashreplace") if data and is_whole else ""

    return arrived


def _new_record(folder: str, pid: int) -> "Callable[[], str]":
    """The monitor stores it as a dump, which does not name its process."""
    from crashenv._reading import crashes

    def paths() -> "set[str]":
        try:
            return set(_store.files(folder))
        except OSError:
            return set()

    before = paths()

    def arrived() -> str:
        for path in sorted(paths() - before):
            record = crashes.whole({"path": path})
            if record is not None and record["kind"] == "dump":
                return record["text"]
        return ""

    return arrived
