"""``start_monitor``: start a monitor for this program."""

import os
import sys

import crashenv

PARENT = "CRASHENV_PARENT"  # process id, pidfd, command line
_SINK = "CRASHENV_SINK"
_LONGEST = 1 << 16  # bytes
_NO_WINDOW, _NEW_PROCESS_GROUP = 0x08000000, 0x200

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional, Union


def start_monitor(
    *,
    store: "Union[str, os.PathLike[str], None]" = None,
    on_crash: "Union[str, Sequence[str], None]" = None,
    sink: "Union[str, Sequence[str], None]" = None,
    options: "Sequence[str]" = (),
) -> "Optional[int]":
    """Start ``crashenv collect``, and write the crashes of this process to it.

    ``store`` is a folder. ``on_crash`` is a command: a string that is split as by a shell,
    or a list of words. ``sink`` is one URL or several to which the crashes are sent; they are
    not visible in lists of processes. ``options`` are more options of ``crashenv collect``.
    The monitor has its own session and outlives this process, so it also reports that SIGKILL
    ended it. Returns its process id, or None on other systems than Linux and Windows. Another
    call starts another monitor, which replaces the first.

    Raises OSError if it cannot be started, TypeError if an argument has a wrong type.
    """
    import subprocess
    from shlex import quote

    command = [sys.executable, "-m", "crashenv", "collect", *options]
    if store is not None:
        command += ["--store", os.path.abspath(os.fspath(store))]
    if on_crash is not None:
        words = on_crash if isinstance(on_crash, str) else " ".join(map(quote, on_crash))
        command += ["--on-crash", words]
    if sys.platform not in ("linux", "win32"):
        return None
    variables = {k: v for k, v in os.environ.items() if k not in ("PYDEBUG", "CRASHENV")}
    if sink is not None:
        sinks = [sink] if isinstance(sink, str) else list(sink)
        given = variables.get(_SINK, "")
        variables[_SINK] = " ".join(filter(None, [*sinks, given]))
    package = os.path.dirname(os.path.dirname(os.path.abspath(crashenv.__file__)))
    paths = [package, variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if os.name == "nt":
        return _start_on_windows(command, variables)
    reader, writer = os.pipe()
    passed = [os.pidfd_open(os.getpid())] if hasattr(os, "pidfd_open") else []
    with open("/proc/self/cmdline", "rb") as file:
        own = [os.fsdecode(word) for word in file.read(_LONGEST).split(b"\0")[:-1]]
    # The monitor may start after this process has ended.
    variables[PARENT] = "\x1f".join([str(os.getpid()), *map(str, passed or [-1]), *own])
    try:
        process = subprocess.Popen(
            command,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            env=variables,
            pass_fds=passed,
            start_new_session=True,
        )
        crashenv.set_crash_output(writer)
    finally:
        for fd in (reader, writer, *passed):
            os.close(fd)
    # This process does not wait for it: it ends later.
    process.returncode = 0
    return process.pid


def _start_on_windows(command: "list[str]", variables: "dict[str, str]") -> int:
    """Do the same; the monitor has no console, and a handle of this process to wait for."""
    import subprocess

    from crashenv import _parent_windows
    from crashenv._seldom import windows

    reader, writer = map(windows.descriptor, _parent_windows.open_pair(is_overlapped=False))
    own = windows.open_own_process()
    variables[PARENT] = "\x1f".join([str(os.getpid()), str(own), *windows.original_argv()])
    startup = vars(subprocess)["STARTUPINFO"](lpAttributeList={"handle_list": [own]})
    try:
        process = subprocess.Popen(
            command,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if not _has_stderr() else None,
            env=variables,
            startupinfo=startup,
            creationflags=_NO_WINDOW | _NEW_PROCESS_GROUP,
        )
        crashenv.set_crash_output(writer)
    finally:
        os.close(reader)
        os.close(writer)
        windows.close(own)
    process.returncode = 0
    return process.pid


def _has_stderr() -> bool:
    """Return whether this process has a stderr: a service has none."""
    try:
        os.fstat(2)
    except OSError:
        return False
    return True
