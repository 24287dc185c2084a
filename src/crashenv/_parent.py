"""What the monitor passes to the program, and what it closes for the program's sake."""

import os

import crashenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_NUMBER = 100  # for the passed descriptor: shells and LISTEN_FDS use low numbers
_PIPE_SIZE = 1 << 20  # the most for an unprivileged process (pipe(7))
_LARGEST_PID = 22  # bits (proc(5), pid_max)
DUMP_SIGNAL = "RTMAX"  # for ``crashenv dump``; hardly any program uses the last signal
_F_SETPIPE_SZ = 1031  # named in fcntl from 3.10 on


def open_pipe() -> "tuple[int, int]":
    """Return our end, which raises SIGIO when there is something to read, and the program's."""
    import fcntl

    ours, passed = open_pair()
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    return ours, passed


def open_pair() -> "tuple[int, int]":
    """Return a pipe's two ends, the one to pass with a high number. Raise OSError."""
    import fcntl

    ours, other = os.pipe()
    try:
        fcntl.fcntl(other, _F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass
    try:
        passed = fcntl.fcntl(other, fcntl.F_DUPFD, _LEAST_NUMBER)
    except OSError:  # EINVAL: RLIMIT_NOFILE is lower
        passed = fcntl.fcntl(other, fcntl.F_DUPFD, 3)
    os.close(other)
    return ours, passed


def open_family() -> "tuple[int, int]":
    """Open the files for descendants' announcements and last words (``_seldom.family``).

    Return a pipe's reading end, which raises SIGIO, and a memfd. Raise OSError, or
    AttributeError if there is no memfd.
    """
    import fcntl

    ours, other = os.pipe()
    os.close(other)  # descendants open it by its path
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    board = os.memfd_create("crashenv")
    os.ftruncate(board, os.sysconf("SC_PAGE_SIZE") << _LARGEST_PID)
    return ours, board


def place(fd: int) -> str:
    """Return ``PATH:DEV:INO`` of one of our files, for a process that reopens it."""
    status = os.fstat(fd)
    return "/proc/%d/fd/%d:%d:%d" % (os.getpid(), fd, status.st_dev, status.st_ino)


def environment(
    passed: int,
    base: "Mapping[str, str] | None" = None,
    path: str = "",
    name: str = "",
    family: "tuple[int, int] | None" = None,
) -> "dict[str, str]":
    """Return our environment, or ``base``, with the crash output and the folder to activate it.

    A process that did not inherit ``passed`` reopens ``path``. The variable is ``name``, or the
    one that is set. ``family`` is the result of ``open_family``.
    """
    environment = dict(os.environ if base is None else base)
    text = ""
    if "PYDEBUG" in environment or "CRASHENV" in environment:
        # Not loaded otherwise: it is the largest file of a monitor's start.
        from crashenv._seldom.settings import replaced, variable

        text = environment.get(name, environment.get(variable(environment), ""))
        name = name or variable(environment)
    name = name or "PYDEBUG"
    status = os.fstat(passed)
    item = "crashfd=%d:%d:%d" % (passed, status.st_dev, status.st_ino)
    if path:
        item += ":" + path
    if family is not None:
        item += ",crashfamily=" + ":".join(map(place, family))
    if family is not None and not _has(environment.get(name, ""), "crashsignal"):
        item += ",crashsignal=" + DUMP_SIGNAL
    if text:  # an earlier output would produce a warning; other settings are kept
        item = replaced(text, ("crashfd", "crashfile", "crashfamily"), item).lstrip(",")
    environment[name] = item
    paths = [folder(), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _has(text: str, key: str) -> bool:
    return any(item.partition("=")[0].strip() == key for item in text.split(","))


def fill_standard_descriptors() -> None:
    """Keep our own files from getting numbers 0 to 2, which the program finds closed as before."""
    fd = 0
    while fd <= 2:
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def let_go() -> None:
    """Close all files that the program may expect to be closed, except stderr."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0, inheritable=False)
        os.dup2(null, 1, inheritable=False)
        os.close(null)
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # the program is running already
        return
    for fd in numbers:
        try:
            # Only descriptors that came through execve(2) lack close-on-exec (PEP 446).
            if fd > 2 and os.get_inheritable(fd):
                os.close(fd)
        except OSError:  # the descriptor that listdir() used
            pass


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def folder() -> str:
    """Return the folder for PYTHONPATH that activates this copy without an installation."""
    package = os.path.dirname(os.path.abspath(crashenv.__file__))
    inside = os.path.join(package, "sitecustomize")
    if os.path.isdir(inside):
        return inside
    # A checkout, or an editable installation of one.
    return os.path.join(os.path.dirname(os.path.dirname(package)), "sitecustomize")
