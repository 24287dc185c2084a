"""``crashenv run``: the options."""

import os
import sys

from crashenv import _store
from crashenv._cli import sinks
from crashenv._cli.options import Command, Option, UsageError, count, size
from crashenv._monitor import Options, leave_to_the_program, printable, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    import signal as _signal
    from collections.abc import Callable, Sequence

    from crashenv._cli.options import Values
    from crashenv._monitor.program import Dispositions
    from crashenv._monitor.receivers import Receiver
    from crashenv._sinks.address import Address
else:
    import _signal

_USAGE_ERROR = 125  # as env(1), timeout(1) and nohup(1): other statuses are the program's


def main(arguments: "Sequence[str]") -> int:
    """Return only if no program was started; otherwise end as it ends."""
    return _COMMAND.main(arguments, _run)


def _run(values: "Values") -> int:
    if not values.operands:
        raise UsageError("no COMMAND to run")
    if sys.platform not in ("linux", "win32"):
        raise UsageError("needs Linux or Windows")
    for key in ("capture_stderr", "dump_on_term"):
        if sys.platform == "win32" and values[key] is not None:
            raise UsageError("there is no --%s on Windows" % key.replace("_", "-"))
    if sys.platform == "linux" and not hasattr(_signal, "sigwaitinfo"):
        raise UsageError("needs CPython: %s cannot wait for signals" % sys.implementation.name)
    earlier = leave_to_the_program()
    asked = options(values)
    asked.earlier = earlier
    if os.name == "nt":
        from crashenv._monitor import windows

        windows.run(asked)
    from crashenv._monitor import loop

    loop.run(asked)


def options(values: "Values") -> "Options":
    options = Options(values.operands)
    options.store = values["store"]
    options.most_records = values["max_records"]
    options.most_bytes = values["max_size"]
    options.capture_stderr = bool(values["capture_stderr"])
    options.quiet = bool(values["quiet"])
    options.variable = values["variable"] or ""
    options.dump_on_term = values["dump_on_term"]
    if values["on_crash"]:
        options.receivers.append(_on_crash(values["on_crash"]))
    addresses = _addresses(values)
    if addresses:
        options.receivers.append(_sinks(addresses, values))
    if values["metrics"]:
        options.receivers.append(_metrics(values["metrics"], addresses, values["store"]))
    for key, maker in (("junit", _junit), ("summary", _summary)):
        if values[key]:
            options.receivers.append(maker(values[key], values["redact"] or ()))
    return options


def _addresses(values: "Values") -> "list[Address]":
    """Return the sinks. A mistake in the variable does not keep the program from running."""
    found = sinks.given(values)
    try:
        found += sinks.of_environment()
    except UsageError as error:
        say("%s; nothing is sent there" % printable(str(error)))
    if not found:
        return []
    from crashenv._sinks.address import distinct

    return distinct(found)


def _sinks(addresses: "list[Address]", values: "Values") -> "Callable[[Dispositions], Receiver]":
    arguments = ["--sink-limit", str(sinks.limit(values))]
    for pattern in values["redact"] or ():
        arguments.append("--redact=" + pattern.pattern)

    def make(dispositions: "Dispositions") -> "Receiver":
        if os.name == "nt":
            from crashenv._monitor.windows import Sinks as WindowsSinks

            return WindowsSinks(addresses, values["store"], arguments)
        from crashenv._monitor.sinks import Sinks

        return Sinks(addresses, values["store"], arguments, dispositions)

    return make


def _metrics(
    path: str, addresses: "list[Address]", store: "str | None"
) -> "Callable[[Dispositions], Receiver]":
    def make(dispositions: "Dispositions") -> "Receiver":
        from crashenv._monitor.metrics import Metrics
        from crashenv._sinks.marks import Marks

        folder = store or _store.default_folder()
        return Metrics(path, [(one.shown, Marks(folder, one)) for one in addresses])

    return make


def _junit(
    path: str, redacted: "Sequence[re.Pattern[str]]"
) -> "Callable[[Dispositions], Receiver]":
    def make(dispositions: "Dispositions") -> "Receiver":
        from crashenv._monitor.junit import JUnit

        return JUnit(path, redacted)

    return make


def _summary(
    path: str, redacted: "Sequence[re.Pattern[str]]"
) -> "Callable[[Dispositions], Receiver]":
    def make(dispositions: "Dispositions") -> "Receiver":
        from crashenv._monitor.summary import Summary

        return Summary(path, redacted)

    return make


def _on_crash(command: "list[str]") -> "Callable[[Dispositions], Receiver]":
    def make(dispositions: "Dispositions") -> "Receiver":
        if os.name == "nt":
            from crashenv._monitor.windows import Hook as WindowsHook

            return WindowsHook(command, dispositions)
        from crashenv._monitor.hooks import Hook

        return Hook(command, dispositions)

    return make


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise UsageError("%r is not a number of seconds" % value)
    return seconds


def _variable(value: str) -> str:
    from crashenv._seldom.settings import SECOND_NAME, VARIABLE

    if value not in (VARIABLE, SECOND_NAME):
        raise UsageError("--variable must be %s or %s" % (VARIABLE, SECOND_NAME))
    return value


def _folder(value: str) -> str:
    if not value:
        raise UsageError("--store: the name of the folder is empty")
    return os.path.abspath(value)


def _file(value: str) -> str:
    if not value:
        raise UsageError("the name of a file is empty")
    return os.path.abspath(value)


def _words(value: str) -> "list[str]":
    import shlex

    try:
        words = shlex.split(value)
    except ValueError as error:
        raise UsageError("--on-crash %s: %s" % (value, error)) from None
    if not words:
        raise UsageError("--on-crash: the command is empty")
    return words


QUIET = Option("-q, --quiet", "", "do not print a line for each crash")
# The options of all monitors.
KEEPING = (
    Option(
        "--store",
        "DIR",
        "keep the records in DIR (default: $XDG_STATE_HOME/crashenv,\nor ~/.local/state/crashenv)",
        _folder,
    ),
    Option("--max-records", "N", "keep the newest N records (1000)", count),
    Option("--max-size", "SIZE", "keep at most SIZE bytes of records, with K, M or G (64M)", size),
    Option(
        "--on-crash",
        "PROGRAM",
        "run PROGRAM for each crash, one at a time; it is split\n"
        "into words as by a shell, but no shell runs",
        _words,
    ),
    sinks.SINK,
    sinks.SINK_LIMIT,
    sinks.REDACT,
    Option(
        "--metrics",
        "FILE",
        "keep metrics for Prometheus in FILE, for node_exporter's\ntextfile collector",
        _file,
    ),
    Option("--junit", "FILE", "write FILE with one test case for each crash", _file),
    Option(
        "--summary",
        "FILE",
        "append Markdown to FILE, such as $GITHUB_STEP_SUMMARY, if there\nwas a crash",
        _file,
    ),
    QUIET,
)
_COMMAND = Command(
    "run",
    "[OPTION...] [--] COMMAND [ARGUMENT...]",
    """\
Run COMMAND, keep a report of each of its crashes, and end as it ends.

COMMAND can be any program. COMMAND and its descendants, if they are Python 3.9 or
later, in any virtual environment, write their crashes to a pipe that the monitor
reads. The monitor itself reports what a program cannot report: SIGKILL, the OOM
killer, a C abort(). Signals, terminal and exit status are those of COMMAND. As
process 1 of a container it reaps orphans.
""",
    (
        *KEEPING[:-1],
        Option(
            "--capture-stderr",
            "",
            "add the last 64 KiB of COMMAND's standard error to the\n"
            "report of its death; it is printed as usual",
        ),
        Option(
            "--variable",
            "NAME",
            "set the variable NAME for the program: CRASHENV if it reads\n"
            "PYDEBUG itself (default: the one that is set, or PYDEBUG)",
            _variable,
        ),
        Option(
            "--dump-on-term",
            "SECONDS",
            "keep the stacks of all threads if COMMAND has not ended\nthis long after a SIGTERM",
            _seconds,
        ),
        QUIET,
    ),
    """\
exit status:
  COMMAND's own. If a signal ended COMMAND, the same signal ends the monitor; as
  process 1 it exits with 128 + the signal's number.
  125  the monitor itself failed, or the options are wrong
  126  COMMAND was found but cannot be executed
  127  COMMAND was not found

PROGRAM of --on-crash gets the record on its standard input as one line of JSON, and
CRASHENV_ID, CRASHENV_KIND, CRASHENV_SUMMARY, CRASHENV_PROGRAM and CRASHENV_FILE in
its environment. It may take 30 seconds; its output goes to standard error.

A sink is a URL, such as sentry+https://KEY@HOST/PROJECT; "crashenv send --help"
lists them all. A separate process sends the crashes. Those that it cannot send within
two seconds of COMMAND's end are sent by the next "crashenv run", or by "crashenv send".

examples:
  crashenv run -- python app.py
  crashenv run --store /var/crash --capture-stderr -- gunicorn app:main
  crashenv run --quiet --on-crash 'curl -sS --data-binary @- http://log/' -- ./app
  crashenv run --summary "$GITHUB_STEP_SUMMARY" --junit crashes.xml -- pytest
  ENTRYPOINT ["crashenv", "run", "--"]
""",
    most=None,
    usage_error=_USAGE_ERROR,
)
