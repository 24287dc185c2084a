"""Command-line options, parsed by the table that also makes the help.

This follows POSIX.1-2017, XBD 12.2, and getopt_long(3): options and operands in any
order, ``--name=value``, unambiguous prefixes of long names, ``--``. argparse is not
used, because importing it takes 10 ms, three quarters of an interpreter's start.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

USAGE_ERROR = 2  # as argparse's, and most tools'
_HELP_COLUMN = 24


class UsageError(Exception):
    """A mistake in the command line; the message is shown to the user."""


def count(text: str) -> int:
    """Return a positive number. Raise UsageError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < 1:
        raise UsageError("%r is not a positive number" % text)
    return int(text)


def size(text: str) -> int:
    """Return a number of bytes, given with K, M or G. Raise UsageError."""
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    return count(text[:-1] if shift else text) << shift


class Option:
    """An option with ``names`` as in the help: ``-q, --quiet``.

    Without a ``metavar`` the option takes no argument, and its value is True. ``convert``
    is called with the argument, and may raise UsageError. If ``many`` are allowed, the value
    is a list.
    """

    def __init__(
        self,
        names: str,
        metavar: str,
        help: str,
        convert: "Callable[[str], Any]" = str,
        many: bool = False,
    ) -> None:
        self.names = names.split(", ")
        self.metavar = metavar
        self.help = help
        self.convert = convert
        self.many = many
        self.key = self.names[-1].lstrip("-").replace("-", "_")

    def row(self) -> str:
        short = "" if len(self.names) > 1 else "    "
        head = "  %s%s %s" % (short, ", ".join(self.names), self.metavar)
        lines = self.help.split("\n")
        if len(head) >= _HELP_COLUMN:
            lines.insert(0, "")
        lines[0] = head.rstrip().ljust(_HELP_COLUMN) + lines[0]
        rest = [" " * _HELP_COLUMN + line for line in lines[1:]]
        return "".join(line.rstrip() + "\n" for line in [lines[0], *rest])


_HELP = Option("-h, --help", "", "print this help")


class Command:
    """A command with its help, its options and at most ``most`` operands.

    If ``most`` is None, the first operand ends the options: the rest is another
    command with its own options (POSIX.1-2017, XBD 12.2, guideline 9).
    """

    def __init__(
        self,
        name: str,
        synopsis: str,
        about: str,
        options: "Sequence[Option]",
        more: str,
        most: "int | None",
        usage_error: int = USAGE_ERROR,
    ) -> None:
        self.name = name
        self.operands = synopsis
        self.more = more
        self._synopsis = ("usage: crashenv %s %s" % (name, synopsis)).rstrip() + "\n"
        self.about = about
        self.options = (*options, _HELP)
        self._most = most
        self._usage_error = usage_error

    def main(self, arguments: "Iterable[str]", do: "Callable[[Values], int]") -> int:
        """Run it, or print the help or an error; return the exit status."""
        try:
            values = self.read(arguments)
            if values.given.get("help"):
                sys.stdout.write(self.help())
                return 0
            return do(values)
        except UsageError as error:
            from crashenv._cli.terminal import printable

            text = printable(str(error))
            sys.stderr.write("crashenv %s: %s\n%s" % (self.name, text, self._synopsis))
            return self._usage_error

    def help(self) -> str:
        rows = "".join(option.row() for option in self.options)
        return "%s\n%s\noptions:\n%s\n%s" % (self._synopsis, self.about, rows, self.more)

    def read(self, arguments: "Iterable[str]") -> "Values":
        """Parse the arguments. Raise UsageError."""
        values = Values()
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                values.operands += rest
                break
            if argument == "-" or not argument.startswith("-"):
                values.operands.append(argument)
                if self._most is None:
                    values.operands += rest
                    break
                continue
            option, value = self._option(argument, rest)
            converted = option.convert(value) if option.metavar else True
            if option.many:
                converted = [*values.given.get(option.key, ()), converted]
            values.given[option.key] = converted
        most = len(values.operands) if self._most is None else self._most
        if len(values.operands) > most and not values.given.get("help"):
            raise UsageError("too many arguments: %r" % values.operands[most])
        return values

    def _option(self, argument: str, rest: "list[str]") -> "tuple[Option, str]":
        """Return the option in ``argument``, and its value, which may be the next of ``rest``."""
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            name, equals, value = argument[:2], argument[2:], argument[2:]
        option = self._find(name)
        if not option.metavar:
            if equals and name.startswith("--"):
                raise UsageError("%s takes no value" % name)
            if equals:
                rest.insert(0, "-" + value)
        elif not equals:
            if not rest:
                raise UsageError("%s needs a value" % name)
            value = rest.pop(0)
        return option, value

    def _find(self, name: str) -> Option:
        exact = [option for option in self.options if name in option.names]
        begun = [
            option
            for option in self.options
            if name.startswith("--") and option.names[-1].startswith(name)
        ]
        found = exact or begun
        if not found:
            raise UsageError("there is no option %s" % name)
        if len(found) > 1:
            matches = ", ".join(o.names[-1] for o in found)
            raise UsageError("%s is ambiguous: %s" % (name, matches))
        return found[0]


class Values:
    """The parsed command line: ``given`` by the options' long names, and ``operands``."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.operands: list[str] = []

    def __getitem__(self, key: str) -> "Any":
        """Return the option's value, None if it was not given."""
        return self.given.get(key)
