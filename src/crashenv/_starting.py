"""``start_monitor``: a monitor that a program starts for itself."""

import os
import sys

import crashenv

PARENT = "CRASHENV_PARENT"  # process id, pidfd, command line
_SINK = "CRASHENV_SINK"
_LONGEST = 1 << 16  # bytes

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

    ``store`` is a folder, ``on_crash`` a command, as a string that is split as a shell
    would or as its words, ``sink`` is one URL or several to send the crashes to, which no
    list of processes shows, and ``options`` are more of ``crashenv collect``'s. The monitor
    has a session of its own and outlives this process, so it also reports that SIGKILL
    ended it. Returns its process id, None where there can be none (not Linux). Calling it
    again starts another, which replaces the first.

    Raises OSError if it cannot be started, TypeError if an argument is of a wrong type.
    """
    import subprocess
    from shlex import quote

    command = [sys.executable, "-m", "crashenv", "collect", *options]
    if store is not None:
        command += ["--store", os.path.abspath(os.fspath(store))]
    if on_crash is not None:
        words = on_crash if isinstance(on_crash, str) else " ".join(map(quote, on_crash))
        command += ["--on-crash", words]
    if sys.platform != "linux":
        return None
    variables = {k: v for k, v in os.environ.items() if k not in ("PYDEBUG", "CRASHENV")}
    if sink is not None:
        sinks = [sink] if isinstance(sink, str) else list(sink)
        given = variables.get(_SINK, "")
        variables[_SINK] = " ".join(filter(None, [*sinks, given]))
    package = os.path.dirname(os.path.dirname(os.path.abspath(crashenv.__file__)))
    paths = [package, variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    reader, writer = os.pipe()
    passed = [os.pidfd_open(os.getpid())] if hasattr(os, "pidfd_open") else []
    with open("/proc/self/cmdline", "rb") as file:
        own = [os.fsdecode(word) for word in file.read(_LONGEST).split(b"\0")[:-1]]
    # It may start after this process has ended.
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
    # Nobody waits for it here: it ends after this process.
    process.returncode = 0
    return process.pid
