"""What the program gets from the monitor, and what the monitor lets go of for it."""

import os

import crashenv
from crashenv._seldom.settings import replaced, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_NUMBER = 100  # of the passed descriptor: shells and LISTEN_FDS use the low ones
_PIPE_SIZE = 1 << 20  # what an unprivileged process may ask for (pipe(7))
_LARGEST_PID = 22  # bits (proc(5), pid_max)
DUMP_SIGNAL = "RTMAX"  # what ``crashenv dump`` sends; hardly a program uses the last one
_F_SETPIPE_SZ = 1031  # named in fcntl from 3.10 on


def open_pipe() -> "tuple[int, int]":
    """Our end, which raises SIGIO when there is something to read, and the program's."""
    import fcntl

    ours, passed = open_pair()
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    return ours, passed


def open_pair() -> "tuple[int, int]":
    """A pipe's two ends, the one to pass at a high number. Raises OSError."""
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
    """Where descendants tell of themselves, and keep their last words (``_seldom.family``).

    The end to read, which raises SIGIO, and a memfd. Raises OSError, AttributeError where
    there is none.
    """
    import fcntl

    ours, other = os.pipe()
    os.close(other)  # whoever opens it anew has one
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    board = os.memfd_create("crashenv")
    os.ftruncate(board, os.sysconf("SC_PAGE_SIZE") << _LARGEST_PID)
    return ours, board


def place(fd: int) -> str:
    """Of one of our files: ``PATH:DEV:INO``, for who may open it anew."""
    status = os.fstat(fd)
    return "/proc/%d/fd/%d:%d:%d" % (os.getpid(), fd, status.st_dev, status.st_ino)


def environment(
    passed: int,
    base: "Mapping[str, str] | None" = None,
    path: str = "",
    name: str = "",
    family: "tuple[int, int] | None" = None,
) -> "dict[str, str]":
    """Ours, or ``base``, with the crash output and the folder that activates it.

    Who did not inherit ``passed`` opens ``path`` anew. The variable is ``name``, or the one
    that is set. ``family`` is what ``open_family`` returned.
    """
    environment = dict(os.environ if base is None else base)
    name = name or variable(environment)
    status = os.fstat(passed)
    item = "crashfd=%d:%d:%d" % (passed, status.st_dev, status.st_ino)
    if path:
        item += ":" + path
    if family is not None:
        item += ",crashfamily=" + ":".join(map(place, family))
    if family is not None and not _has(environment.get(name, ""), "crashsignal"):
        item += ",crashsignal=" + DUMP_SIGNAL
    # An earlier output would cost a warning; what else is set holds.
    before = replaced(
        environment.get(name, environment.get(variable(environment), "")),
        ("crashfd", "crashfile", "crashfamily"),
        item,
    )
    environment[name] = before.lstrip(",")
    paths = [folder(), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _has(text: str, key: str) -> bool:
    return any(item.partition("=")[0].strip() == key for item in text.split(","))


def fill_standard_descriptors() -> None:
    """Keep our own files from landing on 0, 1 or 2; the program finds them closed as before."""
    fd = 0
    while fd <= 2:
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def let_go() -> None:
    """Keep no file open that the program may want to see closed, but for stderr."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0, inheritable=False)
        os.dup2(null, 1, inheritable=False)
        os.close(null)
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # the program runs already
        return
    for fd in numbers:
        try:
            # What came through execve(2) has no close-on-exec flag, and ours has (PEP 446).
            if fd > 2 and os.get_inheritable(fd):
                os.close(fd)
        except OSError:  # the one that listdir() used
            pass


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def folder() -> str:
    """The folder for PYTHONPATH that activates this copy without an installation."""
    package = os.path.dirname(os.path.abspath(crashenv.__file__))
    inside = os.path.join(package, "sitecustomize")
    if os.path.isdir(inside):
        return inside
    # A checkout, or an editable installation of one.
    return os.path.join(os.path.dirname(os.path.dirname(package)), "sitecustomize")
