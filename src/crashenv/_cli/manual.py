"""``crashenv man``: the manual page, from the commands' tables (man-pages(7))."""

import sys

import crashenv
from crashenv._cli.completion import commands
from crashenv._cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crashenv._cli.options import Values

_COMMAND = Command(
    "man",
    "",
    "Print the manual page of crashenv, for man(1).\n",
    (),
    """\
examples:
  crashenv man | man -l -
  crashenv man > ~/.local/share/man/man1/crashenv.1
""",
    most=0,
)
_ABOUT = """\
A Python program that is started with
.B PYDEBUG=crashfd=N
or
.B PYDEBUG=crashfile=PATH
also writes each of its crashes there: exceptions of any thread or worker, failures of its first
import, and the dumps that faulthandler writes at fatal signals.
.B crashenv run
starts a program that way, keeps the reports, and reports deaths that a program cannot report.
The other commands read the records."""


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _print)


def _print(values: "Values") -> int:
    sys.stdout.write("".join(line + "\n" for line in page()))
    return 0


def page() -> "Iterator[str]":
    """Yield the lines of the page."""
    all_commands = commands()
    yield '.TH CRASHENV 1 "" "crashenv %s" "User Commands"' % crashenv.__version__
    yield ".SH NAME"
    yield "crashenv \\- record and show every crash of a Python program"
    yield ".SH SYNOPSIS"
    for command, _ in all_commands:
        yield ".B crashenv %s" % command.name
        yield _escaped(command.operands) or "\\&"
        yield ".br"
    yield ".SH DESCRIPTION"
    yield _ABOUT
    yield ".SH COMMANDS"
    for command, _ in all_commands:
        yield ".SS crashenv %s" % command.name
        yield _escaped(command.about.rstrip("\n"))
        for option in command.options:
            yield ".TP"
            names = ", ".join("\\fB%s\\fR" % _escaped(name) for name in option.names)
            yield names + (" \\fI%s\\fR" % _escaped(option.metavar) if option.metavar else "")
            yield _escaped(option.help)
        yield ".PP"
        yield ".nf"
        yield _escaped(command.more.rstrip("\n"))
        yield ".fi"
    yield ".SH ENVIRONMENT"
    yield '.TP\n.BR PYDEBUG ", " CRASHENV\nwhere a program reports to, and how; the second wins.'
    yield ".TP\n.B CRASHENV_SINK\nwhere crashes are sent, as with \\-\\-sink."
    yield '.TP\n.BR CRASHENV_SINK_SECRET ", " CRASHENV_SINK_SECRET_FILE'
    yield "the secret that signs webhooks, or the file that contains it."
    yield ".TP\n.B XDG_STATE_HOME\nthe folder of the store, which is named crashenv."
    yield '.TP\n.BR NO_COLOR ", " FORCE_COLOR ", " PAGER\nhow show and list print.'


def _escaped(text: str) -> str:
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in lines)
