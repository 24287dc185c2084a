"""PYDEBUG -> crash output, once in a process.

Silent where there is nothing to do, one line on stderr where the setting is wrong.
"""

import os
import sys

import crashenv
from crashenv._descriptor import identity, is_file
from crashenv._settings import VARIABLE, Problem, number, parse, replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crashenv._settings import Settings

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


_activated = False


def activate() -> None:
    global _activated
    if _activated:  # a virtual environment up to 3.14 runs every .pth line twice
        return
    _activated = True
    text = os.environ.get(VARIABLE, "")
    if "crash" not in text or sys.flags.ignore_environment or is_elevated():
        return
    settings, problems = parse(text)
    if settings.identity is not None and not is_file(settings.fd or 0, settings.identity):
        return  # this process did not get the descriptor: not meant for it
    value = None
    try:
        value = _adopt(settings)
    except (Problem, OSError) as error:
        if settings.identity is not None:
            return
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        problems.append((item_of(settings), why))
    # No child is to try a wrong item again, or to warn of it again.
    wrong = {item.partition("=")[0] for item, _ in problems}
    if value is not None:
        wrong.add(value.partition("=")[0])
    _rewrite(replaced(text, wrong, value))
    if problems:
        from crashenv._warning import warn

        warn(problems, value is not None)
    if value is None and settings.threads == "fatal":
        output = crashenv.load_start_side()
        output.replace(output.CrashOutput(settings, None, None))


def _adopt(settings: "Settings") -> "str | None":
    """Install the crash output; return the item for a descendant, None if there is no output."""
    if not settings.has_output():
        return None
    output = crashenv.load_start_side()
    new = output.CrashOutput
    if not output.IN_MAIN_INTERPRETER:
        from crashenv._borrowed import BorrowedOutput as new
    if settings.path is not None:
        from crashenv._crashfile import expand

        path = expand(settings.path)
        output.replace(new(settings, None, path))
        # The variable cannot carry a comma, which the working directory may have.
        return "crashfile=" + (settings.path if "," in path else path)
    if settings.listen_name is not None:
        settings.fd = passed_as(settings.listen_name)
    fd = settings.fd
    assert fd is not None
    try:
        if settings.identity is None and not os.get_inheritable(fd):
            # Opened by this interpreter: up to 3.12 that is the .pth file itself.
            raise Problem("was not passed to this process")
    except OSError as error:
        raise Problem("is not open") from error
    output.replace(new(settings, fd, None))
    return "crashfd=%d:%d:%d" % (fd, *identity(os.fstat(fd)))


def passed_as(name: str) -> int:
    """The descriptor that the service manager passed under ``name`` (sd_listen_fds(3))."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    try:
        count = number(os.environ.get("LISTEN_FDS", ""), 9)
        pid = number(os.environ.get("LISTEN_PID", ""), 9)
    except Problem:
        count = pid = 0
    if pid != os.getpid() or name not in names[:count]:
        raise Problem("no descriptor of that name was passed to this process")
    return _FIRST_PASSED + names.index(name)


def is_elevated() -> bool:
    """Whether this is a set-uid or set-gid program, whose caller is not to name files."""
    if not hasattr(os, "geteuid"):
        return False
    return os.getuid() != os.geteuid() or os.getgid() != os.getegid()


def _rewrite(text: str) -> None:
    if text.strip(", "):
        if text != os.environ[VARIABLE]:
            os.environ[VARIABLE] = text
    else:
        del os.environ[VARIABLE]


def item_of(settings: "Settings") -> str:
    if settings.path is not None:
        return "crashfile=" + settings.path
    name = settings.listen_name
    return "crashfd=" + (str(settings.fd) if name is None else "@" + name)
