"""The command line: ``crashenv COMMAND`` or ``python -m crashenv COMMAND``.

Each command is a module, which is imported only if it is used: ``main(arguments)`` runs it
and returns the exit status.
"""

import os
import sys

import crashenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn, TextIO
else:
    import _signal

# name: (module, the line in the help)
COMMANDS = {
    "run": ("crashenv._cli.run", "run a program and keep the reports of its crashes"),
    "collect": ("crashenv._cli.collect", "keep the reports that arrive on standard input"),
    "dump": ("crashenv._cli.dump", "print the stacks of a running process"),
    "list": ("crashenv._cli.list", "list the crashes in the store, or in files"),
    "show": ("crashenv._cli.show", "show a crash"),
    "html": ("crashenv._cli.page.command", "write an HTML page of the crashes"),
    "parse": ("crashenv._cli.parse", "print the reports of a file as lines of JSON"),
    "send": ("crashenv._cli.send", "send the crashes to Sentry and other receivers"),
    "prune": ("crashenv._cli.prune", "remove old records from the store"),
    "doctor": ("crashenv._cli.doctor.command", "find out why crashes are not reported"),
    "path": ("crashenv._cli.path", "print the folder to put on PYTHONPATH"),
    "completion": ("crashenv._cli.completion", "print a shell completion script"),
    "man": ("crashenv._cli.manual", "print the manual page"),
}
SINKS = "CRASHENV_SINK"  # a variable, see ``crashenv._cli.sinks``
_USAGE = """\
usage: crashenv COMMAND [ARGUMENT...]
       crashenv COMMAND --help
       crashenv --help | --version
"""
_FAILURE = 2  # as argparse's, if the arguments are wrong


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Return the exit status, or raise SystemExit as argparse does."""
    if arguments is None:
        arguments = sys.argv[1:]
    _die_of_signals()
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if name not in ("run", "collect"):
        # As print() does, write nothing if a stream is closed.
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    elif os.name == "posix":
        return _command(name, rest)
    try:
        status = _command(name, rest) if name in COMMANDS else _about(name)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        from errno import EINVAL, EPIPE

        # The output cannot be written. On Windows, this is so if a pipe has no reader.
        if os.name == "nt" and error.errno in (EPIPE, EINVAL):
            status = 1
        else:
            status = _FAILURE
            _complain("crashenv %s: %s\n" % (name, error.strerror or error))
        os._exit(status)  # otherwise the interpreter would flush standard output, and complain
    return status


def _about(name: str) -> int:
    if name in ("-h", "--help", "help"):
        return _tell(_help(), sys.stdout)
    if name in ("-V", "--version"):
        return _tell("crashenv %s\n" % crashenv.__version__, sys.stdout)
    if name:
        _tell("crashenv: there is no command %r%s\n" % (name, _suggestion(name)), sys.stderr)
    _tell(_USAGE, sys.stderr)
    return _FAILURE


def _complain(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass


_MEANT = {"ls": "list", "log": "list", "logs": "list", "cat": "show", "view": "show"}
_MEANT.update({"exec": "run", "start": "run", "check": "doctor", "rm": "prune", "gc": "prune"})


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    found = [_MEANT[name]] if name in _MEANT else get_close_matches(name, COMMANDS, 1)
    return "; did you mean %r?" % found[0] if found else ""


def _die_of_signals() -> None:
    """Let Ctrl-C end this tool like any other, without a traceback, unless it is ignored."""
    if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _command(name: str, arguments: "Sequence[str]") -> int:
    if name == "run" and _is_plain(arguments):
        _run(arguments[1:] if arguments[0] == "--" else arguments)
    module = COMMANDS[name][0]
    __import__(module)
    main = sys.modules[module].main
    if name != "run" and hasattr(_signal, "SIGPIPE"):  # the program would inherit it
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    status: int = main(arguments)
    return status


def _is_plain(arguments: "Sequence[str]") -> bool:
    """Return whether ``run`` has no options: loading them takes 0.05 of a start."""
    if sys.platform != "linux" or not hasattr(_signal, "sigwaitinfo") or SINKS in os.environ:
        return False
    return bool(arguments[1:] if arguments[:1] == ["--"] else arguments and arguments[0][:1] != "-")


def _run(command: "Sequence[str]") -> "NoReturn":
    """Do what ``crashenv._cli.run`` does without options."""
    from crashenv import _monitor

    options = _monitor.Options(command)
    options.earlier = _monitor.leave_to_the_program()
    from crashenv._monitor import loop

    loop.run(options)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = ["  %-*s  %s\n" % (width, name, text) for name, (_, text) in COMMANDS.items()]
    return "%s\nRecord and show every crash of a Python program.\n\ncommands:\n%s" % (
        _USAGE,
        "".join(lines),
    )


def _tell(text: str, stream: "TextIO") -> int:
    stream.write(text)
    return 0


def leave(status: int) -> "NoReturn":
    """End the process, at once if the caller is the main script and nothing is to be done at exit.

    The interpreter's finalization takes 0.14 of a start.
    """
    at_exit = {"atexit", "threading"} & sys.modules.keys()
    if not at_exit and sys._getframe(1).f_back is None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        except (AttributeError, OSError, ValueError):  # the interpreter reports it
            pass
    sys.exit(status)
