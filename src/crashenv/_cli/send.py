"""``crashenv send``: send the crashes that a receiver has not got yet."""

import signal
import sys

from crashenv import _store
from crashenv._cli import sinks
from crashenv._cli.list import STORE
from crashenv._cli.options import Command, Option, UsageError
from crashenv._cli.terminal import Progress, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values
    from crashenv._sinks.address import Address
    from crashenv._sinks.sending import Tally

_WAITING = 1
_UNREADABLE = 2
_PATIENCE = 30.0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise UsageError("--patience: %r is not a number of seconds" % text)
    return seconds


_COMMAND = Command(
    "send",
    "[OPTION...] [FILE...]",
    """\
Send the crashes in the store to each sink that has not got them yet, the oldest
first, and remember which were sent. With FILE, send the crashes in it and remember
nothing; a receiver that checks event ids keeps each crash only once anyway.

Whatever looks like a secret is removed first. Certificates are verified, and proxies
are taken from https_proxy, http_proxy and no_proxy.
""",
    (
        sinks.SINK,
        STORE,
        sinks.SINK_LIMIT,
        sinks.REDACT,
        Option(
            "-a, --all",
            "",
            "also send crashes from before the sink was first used, and\n"
            "those that it refused or --sink-limit left out",
        ),
        Option("--patience", "SECONDS", "how long to try if a receiver fails (30)", _seconds),
        Option("-q, --quiet", "", "print only new failures"),
    ),
    """\
URL is one of
  sentry+https://KEY@HOST/PROJECT   Sentry, or a server that accepts its envelopes;
                                    "sentry:" uses SENTRY_DSN
  otlp+http://HOST:4318             OpenTelemetry logs; "otlp:" uses
                                    OTEL_EXPORTER_OTLP_ENDPOINT
  journald:                         systemd's journal
  eventlog:                         Windows' Event Log
  syslog:  syslog://HOST  syslog+tcp://HOST
  https://HOST/PATH                 the record as JSON; signed, if CRASHENV_SINK_SECRET
                                    or CRASHENV_SINK_SECRET_FILE is set

exit status:
  0  no crashes are waiting
  1  crashes are waiting, because a receiver did not accept them
  2  something cannot be read, or the options are wrong

examples:
  CRASHENV_SINK=@/run/secrets/sentry crashenv send
  crashenv send --sink journald: --store /var/crash
""",
    most=1 << 20,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _send)


def _send(values: "Values") -> int:
    from crashenv._sinks.address import distinct

    if hasattr(signal, "SIGPIPE"):  # if a receiver hangs up, the socket reports an error
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    addresses = distinct([*sinks.given(values), *sinks.of_environment()])
    if not addresses:
        raise UsageError("needs --sink, or CRASHENV_SINK in the environment")
    return max([_send_to(address, values) for address in addresses])


def _send_to(address: "Address", values: "Values") -> int:
    from crashenv._reading import crashes
    from crashenv._sinks import sending
    from crashenv._sinks.marks import Marks

    folder = None if values.operands else values["store"] or _store.default_folder()
    patience = _PATIENCE if values["patience"] is None else values["patience"]
    marks = Marks(folder, address)
    patterns = values["redact"] or ()
    job = sending.Sending(address, marks, patterns, sinks.limit(values), patience)
    progress = Progress("crashenv send", bool(values["quiet"]))
    known = -1

    def tell(done: int, all_of_them: int) -> None:
        nonlocal known
        if all_of_them != known:
            known = all_of_them
            progress.begin("sending to %s," % address.shown, all_of_them, "crashes")
        progress.at(done)

    problems = crashes.Problems("send")
    try:
        if folder is None:
            job.records(list(sending.records_of(values.operands, problems)), tell)
        else:
            job.store(folder, bool(values["all"]), tell)
    except FileNotFoundError:  # no store: nothing has crashed yet
        pass
    except OSError as error:
        text = "%s: %s" % (printable(str(error.filename or folder)), error.strerror)
        sys.stderr.write("crashenv send: %s\n" % text)
        return _UNREADABLE
    finally:
        progress.end()
    problems.tell()
    _tell(address, job.tally, bool(values["quiet"]))
    if problems.unreadable:
        return _UNREADABLE
    return _WAITING if job.tally.problem else 0


def _tell(address: "Address", tally: "Tally", quiet: bool) -> None:
    text = []
    if tally.problem and not (quiet and tally.is_known):
        wait = "%s wait%s" % (_crashes(tally.waiting), "s" if tally.waiting == 1 else "")
        text.append("%s: %s; %s" % (address.shown, tally.problem, wait))
    if tally.refused:
        shown = address.shown, _crashes(tally.refused), tally.refusal
        text.append("%s: refused %s: %s" % shown)
    if not quiet and (tally.sent or not tally.problem):
        parts = ["sent %s to %s" % (_crashes(tally.sent), address.shown)]
        if tally.left or tally.held:
            parts.append("left out %d by --sink-limit" % (tally.left + tally.held))
        if tally.redacted:
            parts.append("removed %d secrets" % tally.redacted)
        text.append(", ".join(parts))
    for line in text:
        sys.stderr.write("crashenv send: %s\n" % printable(line))


def _crashes(count: int) -> str:
    return "1 crash" if count == 1 else "%d crashes" % count
