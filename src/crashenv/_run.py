"""``crashenv run``: its arguments.

They are read by hand from the table that also makes the help, because importing
argparse would double the time that the monitor itself takes to start.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_USAGE_ERROR = 125  # as env(1), timeout(1) and nohup(1): the rest is the program's
_SYNOPSIS = "usage: crashenv run [OPTION...] [--] COMMAND [ARGUMENT...]\n"
_ABOUT = """
Run COMMAND, keep a report of each of its crashes, and end as it ends.

COMMAND can be anything. Every Python program among it and its descendants, of any
version from 3.9 on and in any virtual environment, writes its crashes into a pipe
that the monitor reads. The monitor itself reports what a program cannot tell:
SIGKILL, the OOM killer, a C abort(). Signals, terminal and status are those of
COMMAND. As process 1 of a container it reaps orphans.

options:
"""
_MORE = """
exit status:
  COMMAND's own. If a signal ended COMMAND, the same signal ends the monitor; as
  process 1 it exits with 128 + the signal's number.
  125  the monitor itself failed, or the options are wrong
  126  COMMAND was found but cannot be executed
  127  COMMAND was not found

PROGRAM of --on-crash finds the record on its standard input as one line of JSON, and
CRASHENV_ID, CRASHENV_KIND, CRASHENV_SUMMARY, CRASHENV_PROGRAM and CRASHENV_FILE in
its environment. It may take 30 seconds; what it prints goes to standard error.

examples:
  crashenv run -- python app.py
  crashenv run --store /var/crash --capture-stderr -- gunicorn app:main
  crashenv run --quiet --on-crash 'curl -sS --data-binary @- http://log/' -- ./app
  ENTRYPOINT ["crashenv", "run", "--"]
"""


class Options:
    """What the command line says; ``command`` is what follows the options."""

    def __init__(self) -> None:
        self.command: list[str] = []
        self.store: str | None = None
        self.most_records = 1000
        self.most_bytes = 64 << 20
        self.on_crash: list[str] = []
        self.capture_stderr = False
        self.quiet = False


class UsageError(Exception):
    """The message is for people."""


def main(arguments: "Sequence[str]") -> int:
    """Return the status to exit with; a signal that ended the program ends this too."""
    try:
        options = parse(arguments)
    except UsageError as error:
        sys.stderr.write("crashenv run: %s\n%s" % (error, _SYNOPSIS))
        sys.stderr.write("Try 'crashenv run --help'.\n")
        return _USAGE_ERROR
    if options is None:
        sys.stdout.write(usage())
        return 0
    from crashenv import _monitor

    return _monitor.run(options)


def parse(arguments: "Sequence[str]") -> "Options | None":
    """The options, or None for help. Raises UsageError.

    The first argument that is no option begins the command (POSIX.1-2017, XBD 12.2,
    guideline 9), so that COMMAND's own options are left alone.
    """
    options = Options()
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        if argument in ("-h", "--help"):
            return None
        name, equals, value = argument.partition("=")
        option = _BY_NAME.get(name)
        if option is None:
            raise UsageError("there is no option %s" % name)
        if option.metavar and not equals:
            if not rest:
                raise UsageError("%s needs a value" % name)
            value = rest.pop(0)
        elif equals and not option.metavar:
            raise UsageError("%s takes no value" % name)
        option.set(options, value)
    if not rest:
        raise UsageError("no COMMAND to run")
    options.command = rest
    return options


def _store(options: Options, value: str) -> None:
    if not value:
        raise UsageError("--store names no folder")
    options.store = os.path.abspath(value)


def _most_records(options: Options, value: str) -> None:
    options.most_records = _number("--max-records", value)


def _most_bytes(options: Options, value: str) -> None:
    shift = {"K": 10, "M": 20, "G": 30}.get(value[-1:].upper(), 0)
    options.most_bytes = _number("--max-size", value[:-1] if shift else value) << shift


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < 1:
        raise UsageError("%s: %r is not a number from 1 on" % (name, text))
    return int(text)


def _on_crash(options: Options, value: str) -> None:
    import shlex

    try:
        options.on_crash = shlex.split(value)
    except ValueError as error:
        raise UsageError("--on-crash: %r: %s" % (value, error)) from None
    if not options.on_crash:
        raise UsageError("--on-crash names no program")


def _capture_stderr(options: Options, value: str) -> None:
    options.capture_stderr = True


def _quiet(options: Options, value: str) -> None:
    options.quiet = True


class _Option:
    def __init__(
        self, names: str, metavar: str, help: str, set: "Callable[[Options, str], None]"
    ) -> None:
        self.names = names.split(", ")
        self.metavar = metavar
        self.help = help
        self.set = set

    def row(self) -> str:
        short = "" if len(self.names) > 1 else "    "
        head = "  %s%s %s" % (short, ", ".join(self.names), self.metavar)
        lines = self.help.split("\n")
        return "".join(
            "%-26s%s\n" % (start, line) for start, line in zip([head, *[""] * len(lines)], lines)
        )


_OPTIONS = (
    _Option(
        "--store",
        "DIR",
        "keep the records in DIR; $XDG_STATE_HOME/crashenv, or\n"
        "~/.local/state/crashenv, unless given",
        _store,
    ),
    _Option("--max-records", "N", "keep the newest N records (1000)", _most_records),
    _Option("--max-size", "SIZE", "keep SIZE bytes of them, with K, M or G (64M)", _most_bytes),
    _Option(
        "--on-crash",
        "PROGRAM",
        "run PROGRAM for each crash, one at a time; its words are\n"
        "split as a shell would, and no shell runs",
        _on_crash,
    ),
    _Option(
        "--capture-stderr",
        "",
        "put the last 64 KiB of COMMAND's standard error into the\n"
        "report of its death; they are printed as always",
        _capture_stderr,
    ),
    _Option("-q, --quiet", "", "do not print a line for each crash", _quiet),
)
_BY_NAME = {name: option for option in _OPTIONS for name in option.names}


def usage() -> str:
    rows = "".join(option.row() for option in _OPTIONS)
    rows += "  -h, --help              print this help\n"
    return _SYNOPSIS + _ABOUT + rows + _MORE
