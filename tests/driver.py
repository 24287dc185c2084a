"""The driver of the tests: it runs programs with real interpreters and descriptors.

A test passes a program, which is run twice, without and with crashenv. Its stdout,
stderr and status must be the same; the test checks what was written to the crash
output.

The interpreter is the one that runs the tests. If crashenv is installed there,
the installed copy is tested; otherwise the checkout, through ``sitecustomize/``.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import importlib.util
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tty
import unittest
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

ROOT = Path(__file__).resolve().parent.parent
SITECUSTOMIZE = ROOT / "sitecustomize"
DEADLINE = float(
    os.environ.get("CRASHENV_TEST_DEADLINE", 60)
)  # seconds until a test gives up waiting
PYPY = sys.implementation.name == "pypy"
INSTALLED = importlib.util.find_spec("crashenv") is not None
OUTPUTS = ("pipe", "file", "socket", "fifo", "pty")

# Programs here die of signals: write no core files into the checkout.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

# A shell ignores these for its background jobs, and programs would inherit that. PyPy's
# getsignal() does not know what was inherited.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if PYPY or signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)

Program = Union[str, Sequence[str]]


def environment(**changes: str) -> dict[str, str]:
    """Return the tests' environment without variables that affect an interpreter, with crashenv."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PY", "LISTEN_"))}
    ours.pop("COVERAGE_PROCESS_START", None)
    if not INSTALLED:
        ours["PYTHONPATH"] = str(SITECUSTOMIZE)
    ours.update(changes)
    return ours


def importable() -> str:
    """Return a PYTHONPATH that makes ``import crashenv`` work."""
    return "" if INSTALLED else str(ROOT / "src")


def command(program: Program) -> list[str]:
    """Return ``python -c`` for a source text; arguments follow the interpreter's name."""
    if isinstance(program, str):
        return [sys.executable, "-c", textwrap.dedent(program)]
    return [sys.executable, *program]


# --- results of a program


@dataclasses.dataclass
class Report:
    """One frame of the crash output."""

    fields: dict[str, str]
    body: str

    @property
    def kind(self) -> str:
        return self.fields["kind"]


@dataclasses.dataclass
class Result:
    args: list[str]
    status: int
    stdout: bytes
    stderr: bytes
    crash: bytes = b""

    @property
    def reports(self) -> list[Report]:
        return split(self.crash)[0]

    @property
    def dump(self) -> str:
        """Return the text outside the frames, which is faulthandler's."""
        return split(self.crash)[1].decode()

    def ending(self) -> tuple[int, str, str]:
        """Return what must be the same with and without crashenv."""
        return self.status, comparable(self.stdout), comparable(self.stderr)

    def __str__(self) -> str:
        streams = ("stdout", self.stdout), ("stderr", self.stderr), ("crash output", self.crash)
        sections = ["--- %s\n%s" % (name, text.decode(errors="replace")) for name, text in streams]
        return "\n".join(["status %d of %r" % (self.status, self.args), *sections])


def comparable(text: bytes) -> str:
    """Remove what differs from run to run: addresses, and _PyObject_Dump's count."""
    decoded = text.decode("utf-8", "surrogateescape")
    decoded = re.sub(r"0x[0-9a-fA-F]+|(?<=in thread )\d+", "0x", decoded)
    return re.sub(r"^(object refcount : )\d+", r"\1N", decoded, flags=re.M)


def split(stream: bytes) -> tuple[list[Report], bytes]:
    """Return the frames, and the text outside them; a broken frame is an AssertionError."""
    reports: list[Report] = []
    outside = b""
    while stream:
        line, newline, rest = stream.partition(b"\n")
        if not line.startswith(b"crashenv: report "):
            outside += line + newline
            stream = rest
            continue
        fields = {}
        for item in line.decode("ascii").split(" ")[2:]:
            key, equals, value = item.partition("=")
            assert equals, line
            fields[key] = urllib.parse.unquote(value)
        assert list(fields)[-1] == "bytes", line
        size = int(fields["bytes"])
        assert len(rest) >= size, "truncated: %r" % line
        body = rest[:size]
        assert body.endswith(b"\n"), body[-80:]
        reports.append(Report(fields, body.decode()))
        stream = rest[size:]
    return reports, outside


# --- crash outputs


class CrashOutput:
    """A descriptor to pass, and everything that is read at the other end."""

    @classmethod
    def slow(cls, kind: str) -> CrashOutput:
        """Return one whose reader reads 64 KiB each 50 ms."""
        return cls(kind, pause=0.05)

    def __init__(self, kind: str, pause: float = 0) -> None:
        self.kind = kind
        self._pause = pause
        self._stack = contextlib.ExitStack()
        self._chunks: list[bytes] = []
        self._reader: threading.Thread | None = None
        self.passed, self._read_end = getattr(self, "_open_" + kind)()
        if kind != "file":
            self._reader = threading.Thread(target=self._drain, daemon=True)
            self._reader.start()

    def _open_pipe(self) -> tuple[int, int]:
        read_end, write_end = os.pipe()
        return write_end, read_end

    def _open_file(self) -> tuple[int, int]:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "crash.log")
        return os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), os.open(path, os.O_RDONLY)

    def _open_socket(self) -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        return theirs.detach(), ours.detach()

    def _open_fifo(self) -> tuple[int, int]:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "fifo")
        os.mkfifo(path)
        read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(read_end, True)
        return os.open(path, os.O_WRONLY), read_end

    def _open_pty(self) -> tuple[int, int]:
        master, slave = pty.openpty()
        tty.setraw(slave)
        return slave, master

    def _drain(self) -> None:
        while True:
            try:
                chunk = os.read(self._read_end, 1 << 16)
            except OSError:  # EIO: the last slave of a pty was closed
                return
            if not chunk:
                return
            self._chunks.append(chunk)
            if self._pause:
                time.sleep(self._pause)

    def so_far(self) -> bytes:
        return b"".join(self._chunks)

    def finish(self) -> bytes:
        """Close our copy of the passed end and return all that was written."""
        os.close(self.passed)
        if self._reader is None:
            self._chunks.append(os.read(self._read_end, 1 << 28))
        else:
            self._reader.join(DEADLINE)
            assert not self._reader.is_alive(), "somebody keeps the crash output open"
        os.close(self._read_end)
        self._stack.close()
        return self.so_far()


# --- running


def wait_until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Poll until ``condition`` is true; return its value."""
    deadline = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("%s did not come true" % what)
        time.sleep(0.01)


def run(program: Program, *, launcher: Sequence[str] = (), **options: Any) -> Result:
    """Run to the end, through ``launcher``; ``options`` are those of subprocess.run."""
    args = [*launcher, *command(program)]
    options.setdefault("env", environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    if options.get("input") is not None:
        del options["stdin"]
    done = subprocess.run(args, capture_output=True, timeout=DEADLINE, check=False, **options)
    return Result(args, done.returncode, done.stdout, done.stderr)


def _too_late(*_: object) -> None:
    raise AssertionError("the test took more than %d seconds" % (5 * DEADLINE))


class ProgramTest(unittest.TestCase):
    """A test case that runs programs, and waits no longer than the deadline."""

    def setUp(self) -> None:
        # For all waits together, wherever they are: an exception in a handler ends them.
        signal.signal(signal.SIGALRM, _too_late)
        signal.alarm(int(5 * DEADLINE))
        self.addCleanup(signal.alarm, 0)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def write(self, name: str, source: str) -> str:
        """Write a file into the test's folder; return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return str(path)

    def run_with(
        self,
        program: Program,
        settings: str = "",
        *,
        output: str = "pipe",
        pydebug: str = "crashfd={fd}",
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> Result:
        """Run only with crashenv; ``pydebug`` may contain ``{fd}`` for the passed descriptor."""
        crash_output = CrashOutput(output)
        setting = pydebug.format(fd=crash_output.passed) + ("," + settings if settings else "")
        variables = environment(**{"PYDEBUG": setting, **(env or {})})
        passed = [crash_output.passed, *options.pop("pass_fds", ())]
        try:
            result = run(program, env=variables, pass_fds=passed, **options)
        finally:
            crash = crash_output.finish()
        result.crash = crash
        return result

    def run_both(
        self,
        program: Program,
        settings: str = "",
        *,
        env: dict[str, str] | None = None,
        output: str = "pipe",
        pydebug: str = "crashfd={fd}",
        **options: Any,
    ) -> Result:
        """Run without and with crashenv, assert the same ending, return the second."""
        without = run(program, env=environment(**(env or {})), **options)
        result = self.run_with(
            program, settings, env=env, output=output, pydebug=pydebug, **options
        )
        self.assertEqual(without.ending(), result.ending(), "\n%s\n\n%s" % (without, result))
        return result

    def check_silent(
        self, program: Program, settings: str = "", *, is_on: bool = True, **options: Any
    ) -> Result:
        """Check that it is not a crash: the ending is the same and nothing was written.

        As a positive control, a crash under the same conditions is reported, or not, if
        crashenv is off there.
        """
        result = self.run_both(program, settings, **options)
        self.assertEqual(result.crash, b"", str(result))
        control = self.run_with("1/0", settings, **options)
        self.assertEqual(bool(control.reports), is_on, str(control))
        return result

    def check_reports(
        self, program: Program, *kinds: str, settings: str = "", **options: Any
    ) -> list[Report]:
        """Check for one report of each kind, in this order, nothing else, and the same ending."""
        result = self.run_both(program, settings, **options)
        reports, outside = split(result.crash)
        self.assertEqual([r.kind for r in reports], list(kinds), str(result))
        self.assertEqual(outside, b"", str(result))
        return reports

    def check_exception(self, program: Program, settings: str = "", **options: Any) -> Report:
        """Check for one exception of the main thread, whose body is the text on stderr."""
        result = self.run_both(program, settings, **options)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
        (report,) = result.reports
        self.assertEqual(comparable(report.body.encode()), comparable(result.stderr), str(result))
        return report

    def check_dump(self, program: Program, signum: int, **options: Any) -> Result:
        """Check that ``signum`` ended both runs, with a native dump and nothing else."""
        result = self.run_both(program, **options)
        self.assertEqual(result.status, -signum, str(result))
        self.assertEqual(result.reports, [], str(result))
        self.assertIn("most recent call first", result.dump, str(result))
        return result


class WatchedTest(ProgramTest):
    """Tests of programs in which crashenv is on.

    Tests that crashenv is not noticed would also pass if it did nothing. So each class has
    a positive control: a crash is reported.
    """

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        output = CrashOutput("pipe")
        env = environment(PYDEBUG="crashfd=%d" % output.passed)
        result = run("1/0", env=env, pass_fds=[output.passed])
        result.crash = output.finish()
        if not result.reports:
            raise AssertionError("crashenv is not on\n%s" % result)


@contextlib.contextmanager
def started(program: Program, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that the test talks to; it is killed if the test leaves it running."""
    options.setdefault("env", environment())
    pipe = subprocess.PIPE
    process = subprocess.Popen(command(program), stdin=pipe, stdout=pipe, stderr=pipe, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pipe_size(fd: int) -> int:
    return int(fcntl.fcntl(fd, 1032))  # F_GETPIPE_SZ


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process that has one thread (proc(5))."""
    text = Path("/proc/%d/task/%d/children" % (pid, pid)).read_text()
    return [int(word) for word in text.split()]


def is_root() -> bool:
    return os.geteuid() == 0


def obey_permissions() -> Callable[[], None]:
    """A ``preexec_fn`` that makes file permissions apply to root as well.

    An exec as root restores all capabilities in the bounding set, and no others
    (capabilities(7)).
    """
    prctl = ctypes.CDLL(None).prctl

    def drop() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError

    if not is_root():
        return lambda: None
    try:
        subprocess.run(["true"], preexec_fn=drop, check=True)
    except subprocess.SubprocessError:
        raise unittest.SkipTest("needs CAP_SETPCAP to take root's rights away") from None
    return drop


# --- the monitor

HAS_MONITOR = hasattr(signal, "sigwaitinfo")  # which PyPy does not have
needs_monitor = unittest.skipUnless(HAS_MONITOR, "the monitor needs signal.sigwaitinfo")


def monitor(*options: str) -> list[str]:
    """Return the command that runs its arguments under the monitor; skip the test without one."""
    if not HAS_MONITOR:
        raise unittest.SkipTest("the monitor needs signal.sigwaitinfo")
    return [sys.executable, "-m", "crashenv", "run", *options, "--"]


def monitor_environment(**changes: str) -> dict[str, str]:
    """Return an environment where crashenv can be imported, but only the monitor activates it."""
    ours = environment(**{"PYTHONPATH": importable(), **changes})
    return {name: value for name, value in ours.items() if (name, value) != ("PYTHONPATH", "")}


class MonitorTest(ProgramTest):
    """A test case that runs programs under the monitor, with a store in the test's folder."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.folder / "state" / "crashenv"
        self.env = monitor_environment(XDG_STATE_HOME=str(self.folder / "state"))

    def run_monitored(self, program: str | Sequence[str], *options: str, **others: Any) -> Result:
        """``program`` is a source text, or any command."""
        others.setdefault("env", self.env)
        args = monitor(*options) + _any_command(program)
        return run(args[1:], **others)

    @contextlib.contextmanager
    def started_monitored(
        self, program: str | Sequence[str], *options: str, **others: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        others.setdefault("env", self.env)
        with started((monitor(*options) + _any_command(program))[1:], **others) as process:
            yield process

    def records(self) -> list[dict[str, Any]]:
        """Return the records in the store, the oldest first."""
        return [json.loads(path.read_bytes()) for path in sorted(self.store.glob("*.json"))]

    def check_record(self, kind: str, result: Result) -> dict[str, Any]:
        """Return the only record."""
        records = self.records()
        self.assertEqual([record["kind"] for record in records], [kind], str(result))
        return records[0]


class CommandTest(MonitorTest):
    """A test case that runs the other commands, with that store or with files."""

    def crashenv(self, *arguments: str, **others: Any) -> Result:
        others.setdefault("env", self.env)
        return run(["-m", "crashenv", *arguments], **others)

    def check_output(self, *arguments: str, status: int = 0, **others: Any) -> str:
        """Return what it printed; there is nothing on stderr."""
        result = self.crashenv(*arguments, **others)
        self.assertEqual((result.status, result.stderr), (status, b""), str(result))
        return result.stdout.decode()

    def check_complaint(self, *arguments: str, status: int, **others: Any) -> str:
        """Return the first line on stderr; there is no traceback, and nothing was printed."""
        result = self.crashenv(*arguments, **others)
        self.assertEqual((result.status, result.stdout), (status, b""), str(result))
        first, _, rest = result.stderr.decode().partition("\n")
        self.assertTrue(first.startswith("crashenv %s: " % arguments[0]), str(result))
        self.assertNotIn("Traceback", rest, str(result))
        return first


def _any_command(program: str | Sequence[str]) -> list[str]:
    return command(program) if isinstance(program, str) else list(program)


def signal_name(number: int) -> str:
    return signal.Signals(number).name
