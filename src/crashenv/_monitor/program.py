"""Starting the program of ``crashenv run`` as if it had been started without it."""

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator, Mapping
else:
    import _signal

NOT_EXECUTABLE = 126
NOT_FOUND = 127

# CPython ignores these before any Python code runs, so that nobody can tell what they
# were. subprocess (restore_signals) gives them the default action too.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")


class Dispositions:
    """The signal mask and the dispositions that this process was started with."""

    def __init__(self) -> None:
        self._child_ignored = _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN
        # Ignored, it would keep wait() from telling how a child ended (wait(2), NOTES).
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())

    def restore(self) -> None:
        """In the child. Caught signals get the default action from execve(2)."""
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
    """Return the process id. Raises OSError if there can be no process.

    If it cannot be executed, it prints a line and exits with the status that shells
    use. If it ``is_apart``, it has a process group of its own, and prints no line.
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
            os.write(2, os.fsencode("crashenv: %s: %s\n" % (command[0], error.strerror)))
    finally:
        os._exit(status)


def _lead_a_group(pid: int) -> None:
    """In the parent and in the child, for either may be the first to need the group."""
    try:
        os.setpgid(pid, pid)
    except OSError:  # EACCES: the child has executed already; ESRCH: it has ended
        pass


def _execute(command: "list[str]", environment: "Mapping[str, str]") -> None:
    """execvpe(3): the search, and the shell for a script without ``#!``."""
    error: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in _candidates(command[0], environment):
        try:
            os.execve(path, command, environment)
        except (FileNotFoundError, NotADirectoryError) as missing:
            if "/" in command[0]:
                error = missing
        except PermissionError as denied:  # perhaps another folder has it
            error = denied
        except OSError as failure:
            if failure.errno != errno.ENOEXEC:
                raise
            os.execve("/bin/sh", ["/bin/sh", path, *command[1:]], environment)
    raise error


def _candidates(name: str, environment: "Mapping[str, str]") -> "Iterator[str]":
    if "/" in name:
        yield name
    elif name:
        for folder in environment.get("PATH", os.defpath).split(os.pathsep):
            yield os.path.join(folder or os.curdir, name)
