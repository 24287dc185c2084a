"""``crashenv doctor``: would a crash of this interpreter be reported, and why not?"""

import os
import stat
import sys

import crashenv
from crashenv._cli.doctor import installation
from crashenv._cli.options import Command, Option
from crashenv._cli.terminal import Style, printable, write
from crashenv._seldom import activation, crashfile, outputs
from crashenv._seldom import settings as texts
from crashenv._seldom.outputs import identity, identity_of, is_file
from crashenv._seldom.settings import Problem, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crashenv._cli.doctor.installation import Finding
    from crashenv._cli.options import Values
    from crashenv._seldom.settings import Settings

BAD = 1
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
)

_COMMAND = Command(
    "doctor",
    "[--no-crashes]",
    """\
Print what this interpreter does with the current PYDEBUG, and why, and whether
crashenv is activated before a program starts. Then crash child processes in every
way, and print which reports arrived.
""",
    (Option("--no-crashes", "", "only look, do not crash anything"),),
    """\
exit status:
  0  everything works: all expected reports arrived
  1  something is wrong
  2  the options are wrong

examples:
  crashenv doctor
  PYDEBUG=crashfd=3 .venv/bin/python -m crashenv doctor --no-crashes 3>crash.log
""",
    most=0,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _examine)


def _examine(values: "Values") -> int:
    style = Style(sys.stdout)
    _tell("Python %s, %s" % (sys.version.split()[0], sys.executable))
    _tell(installation.version())
    name = variable(os.environ)
    good = _section(name, list(setting(environment(name))), style)
    good &= _section("Activation", list(_activation()), style)
    if not values["no_crashes"]:
        good &= _trials(style)
    return 0 if good else BAD


def _tell(line: str) -> None:
    write(printable(line) + "\n")


def _section(title: str, findings: "Sequence[Finding]", style: Style) -> bool:
    write("\n" + style.strong(title) + "\n")
    for state, text in findings:
        message = style.error(state) if state == "bad" else style.weak(state)
        write("  %s%s  %s\n" % (message, " " * (4 - len(state)), printable(text)))
    return all(state != "bad" for state, _ in findings)


# --- the variable


def environment(name: str) -> str:
    """Return the variable's value at the start of this process: activation rewrites it."""
    try:
        with open("/proc/self/environ", "rb") as file:  # proc(5)
            items = file.read().split(b"\0")
    except OSError:
        return os.environ.get(name, "")
    begin = os.fsencode(name) + b"="
    found = [item[len(begin) :] for item in items if item.startswith(begin)]
    return os.fsdecode(found[0]) if found else ""


def setting(text: str) -> "Iterator[Finding]":
    """Yield what the interpreter does with ``text``."""
    if not list(texts.crash_items(text)):
        yield "note", "not set, or has no crash... item: nothing is reported"
        return
    yield "note", text
    if sys.flags.ignore_environment:
        yield "bad", "ignored: -E or -I"
        return
    if activation.is_elevated():
        yield "bad", "ignored: this is a set-uid or set-gid program"
        return
    settings, problems = texts.parse(text)
    for item, reason in problems:
        yield "bad", "%s: %s" % (item, reason)
    yield _output(settings)
    yield _activity()
    yield from _rest(settings)


def _output(settings: "Settings") -> "Finding":
    if not settings.has_output():
        return "bad", "there is neither crashfd nor crashfile: nothing is reported"
    try:
        if settings.path is not None:
            return "ok", "reports are appended to " + _try_file(settings.path)
        return _try_descriptor(settings)
    except Problem as error:
        reason = str(error)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    return "bad", "%s: %s; crash output is off" % (activation.item_of(settings), reason)


def _try_file(template: str) -> str:
    path = crashfile.expand_pid(crashfile.expand(template))
    was_there = os.path.lexists(path)
    fd = crashfile.open_file(path)
    if not was_there:
        crashfile.remove_if_empty(fd, identity_of(fd), path)
    os.close(fd)
    return path


def _try_descriptor(settings: "Settings") -> "Finding":
    if os.name == "nt":
        return _try_handle(settings)
    fd = settings.fd
    if settings.listen_name is not None:
        fd = activation.passed_as(settings.listen_name)
    assert fd is not None
    if settings.identity is not None and not is_file(fd, settings.identity):
        text = "descriptor %d is not the file that this PYDEBUG was written for" % fd
        return "note", text + ": it was not passed to this process; crash output is off, silently"
    try:
        status = os.fstat(fd)
    except OSError:
        raise Problem("is not open") from None
    output = outputs.new()
    outputs.open_source(output, fd, crashenv._state)
    outputs.close(output)
    kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
    return "ok", "reports go to descriptor %d, %s (%d:%d)" % (fd, kind, *identity(status))


def _try_handle(settings: "Settings") -> "Finding":
    """Try ``crashhandle``, or ``crashfd``, which is another name for a handle."""
    from crashenv._seldom import handles

    output = outputs.new()
    try:
        handles.adopt_passed(settings, output, crashenv._state)
    except Problem:
        if settings.identity is None:
            raise
        text = "%s is not the file that this PYDEBUG was written for" % activation.item_of(settings)
        return "note", text + ": it was not passed to this process; crash output is off, silently"
    mode = os.fstat(output.fd).st_mode
    outputs.close(output)
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    text = "reports go to %s, %s (%d:%d)"
    return "ok", text % (activation.item_of(settings), kind, *output.identity)


def _activity() -> "Finding":
    """Say whether crashenv is active in this process."""
    if crashenv._state.output is not None:
        return "ok", "active in this process"
    return "note", "not active in this process"


def _rest(settings: "Settings") -> "Iterator[Finding]":
    defaults = texts.Settings()
    for name in ("threads", "traceback", "timeout", "limit", "signal"):
        value = getattr(settings, name)
        if value != getattr(defaults, name):
            yield "ok", "crash%s is %s" % (name, value)


# --- activation


def _activation() -> "Iterator[Finding]":
    folders = installation.site_folders()
    yield from installation.findings(folders, os.environ.get("PYTHONPATH", ""))
    if sys.excepthook is not sys.__excepthook__:
        name = getattr(sys.excepthook, "__module__", None) or type(sys.excepthook).__module__
        yield "note", "%s replaced sys.excepthook; exceptions are reported anyway" % name


# --- crashes


def _trials(style: Style) -> bool:
    from crashenv._cli.doctor import trial

    write("\n" + style.strong("Crashes") + "\n")
    layout = "  %-36s  %-10s  %-10s  %s\n"
    write(layout % ("CRASH", "EXPECTED", "ARRIVED", ""))
    good = True
    for one in trial.trials():
        outcome = trial.attempt(one)
        good &= outcome.is_good
        row = layout % (one.name, one.expected, outcome.arrived, outcome.remark)
        write((row if outcome.is_good else style.error(row.rstrip() + "  (bad)\n")).rstrip() + "\n")
        sys.stdout.flush()
    return good
