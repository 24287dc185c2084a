"""Options of the commands that send crashes, or write them for other people."""

import os

from crashenv._cli import SINKS
from crashenv._cli.options import Option, UsageError, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from crashenv._cli.options import Values
    from crashenv._sinks.address import Address

_DEFAULT_LIMIT = 20


def _sink(text: str) -> "list[Address]":
    from crashenv._sinks import address  # here, so that a start without a sink is cheaper

    try:
        return address.read(text)
    except OSError as error:
        raise UsageError("--sink %s: %s" % (error.filename, error.strerror)) from None
    except ValueError as error:  # its message has no secrets
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
    "send the crashes to URL, or to the URLs in @FILE, and to those in\n"
    "$CRASHENV_SINK; may be given more than once",
    _sink,
    True,
)
SINK_LIMIT = Option(
    "--sink-limit",
    "N",
    "send each kind of crash at most N times an hour (%d), then only\n"
    "how many were left out; 0 sends all" % _DEFAULT_LIMIT,
    _limit,
)
REDACT = Option(
    "--redact",
    "REGEX",
    "also remove text that matches REGEX; may be given more than once",
    _pattern,
    True,
)


def given(values: "Values") -> "list[Address]":
    """Return the sinks of the options."""
    return [one for some in values["sink"] or () for one in some]


def of_environment() -> "list[Address]":
    """Return the sinks of the variable. Raise UsageError."""
    text = os.environ.get(SINKS, "")
    if not text.strip():
        return []
    from crashenv._sinks import address

    try:
        return address.read(text)
    except OSError as error:
        raise UsageError("%s: %s" % (error.filename, error.strerror)) from None
    except ValueError as error:
        raise UsageError("%s: %s" % (SINKS, error)) from None


def limit(values: "Values") -> int:
    return _DEFAULT_LIMIT if values["sink_limit"] is None else int(values["sink_limit"])
