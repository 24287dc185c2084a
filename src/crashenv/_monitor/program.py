"""Starting the program of ``crashenv run`` as if it had been started without it."""

import os

from crashenv._monitor import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator, Mapping
else:
    import _signal

_ENOENT, _ENOEXEC = 2, 8  # the same on each system (errno(3))
NOT_EXECUTABLE = 126
NOT_FOUND = 127

# CPython ignores these before any Python code runs, so their earlier dispositions are
# unknown. subprocess (restore_signals) also restores the default action.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")


class Dispositions:
    """The signal mask and the dispositions that this process was started with."""

    def __init__(self) -> None:
        self._child_ignored = _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN
        # If it is ignored, wait() does not return how a child ended (wait(2), NOTES).
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())

    def restore(self) -> None:
        """Restore them in the child; execve(2) gives caught signals their default action."""
        for name in _IGNORED_BY_PYTHON:
            _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
        if self._child_ignored:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)


def start(
    command: "list[str]",
    environment: "Mapping[str, str]",
    dispositions: Dispositions,
    stdin: "int | None" = None,
    stdout: "int | None" = None,
    stderr: "int | None" = None,
    is_apart: bool = False,
) -> int:
    """Start a process and return its id. Raise OSError if it cannot be created.

    If the command cannot be executed, the process prints a line and exits with the status
    that shells use. If it ``is_apart``, it has its own process group, and prints no line.
    """
    pid = os.fork()
    if pid:
        if is_apart:
            _lead_a_group(pid)
        return pid
    status = NOT_EXECUTABLE
    try:
        if is_apart:
            _lead_a_group(0)
        for source, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
            if source is not None:
                os.dup2(source, number)
        dispositions.restore()
        _execute(command, environment)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            status = NOT_FOUND
        if not is_apart:
            text = "crashenv: %s: %s\n" % (printable(command[0]), error.strerror)
            os.write(2, text.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def _lead_a_group(pid: int) -> None:
    """Called in the parent and in the child: either may be the first to need the group."""
    try:
        os.setpgid(pid, pid)
    except OSError:  # EACCES: the child has executed already; ESRCH: it has ended
        pass


def _execute(command: "list[str]", environment: "Mapping[str, str]") -> None:
    """Search and execute like execvpe(3), with the shell for a script without ``#!``."""
    error: OSError = FileNotFoundError(_ENOENT, os.strerror(_ENOENT))
    for path in _candidates(command[0], environment):
        try:
            os.execve(path, command, environment)
        except (FileNotFoundError, NotADirectoryError) as missing:
            if "/" in command[0]:
                error = missing
        except PermissionError as denied:  # perhaps another folder has it
            error = denied
        except OSError as failure:
            if failure.errno != _ENOEXEC:
                raise
            os.execve("/bin/sh", ["/bin/sh", path, *command[1:]], environment)
    raise error


def _candidates(name: str, environment: "Mapping[str, str]") -> "Iterator[str]":
    if "/" in name:
        yield name
    elif name:
        for folder in environment.get("PATH", os.defpath).split(os.pathsep):
            yield os.path.join(folder or os.curdir, name)
