"""Options of the commands that send crashes somewhere, or show them to others."""

import os

from crashenv._cli.options import Option, UsageError, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from crashenv._cli.options import Values
    from crashenv._sinks.address import Address


VARIABLE = "CRASHENV_SINK"
_DEFAULT_LIMIT = 20


def _sink(text: str) -> "list[Address]":
    from crashenv._sinks import address  # which a start without a sink does not pay for

    try:
        return address.read(text)
    except OSError as error:
        raise UsageError("--sink %s: %s" % (error.filename, error.strerror)) from None
    except ValueError as error:  # without the secrets in the address
        raise UsageError("--sink %s" % error) from None


def _limit(text: str) -> int:
    return 0 if text == "0" else count(text)


def _pattern(text: str) -> "re.Pattern[str]":
    import re

    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError("--redact %s: %s" % (text, error)) from None


SINK = Option(
    "--sink",
    "URL",
    "send the crashes to URL, or to those in the file @FILE; may be\n"
    "given more than once; also those in $CRASHENV_SINK",
    _sink,
    True,
)
SINK_LIMIT = Option(
    "--sink-limit",
    "N",
    "send one kind of crash N times an hour (%d), and then how many\n"
    "there were; 0 sends all" % _DEFAULT_LIMIT,
    _limit,
)
REDACT = Option(
    "--redact",
    "REGEX",
    "also take out what matches REGEX; may be given more than once",
    _pattern,
    True,
)


def given(values: "Values") -> "list[Address]":
    """Those of the options."""
    return [one for some in values["sink"] or () for one in some]


def of_environment() -> "list[Address]":
    """Those of the variable. Raises UsageError."""
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return []
    from crashenv._sinks import address

    try:
        return address.read(text)
    except OSError as error:
        raise UsageError("%s: %s" % (error.filename, error.strerror)) from None
    except ValueError as error:
        raise UsageError("%s: %s" % (VARIABLE, error)) from None


def limit(values: "Values") -> int:
    return _DEFAULT_LIMIT if values["sink_limit"] is None else int(values["sink_limit"])
