"""The driver for real programs: skipping, servers, logs that vary.

There is no ``__init__.py`` in this folder, so that the discovery of the other
tests, which need only an interpreter, ignores it. Run these tests with

    python -m unittest discover -s tests/programs

in an environment that has the programs.
"""

from __future__ import annotations

import dataclasses
import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.driver import (
    DEADLINE,
    CrashOutput,
    ProgramTest,
    Report,
    Result,
    command,
    comparable,
    environment,
    wait_until,
)

# What differs from run to run, and its replacement.
_VARYING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: [+-]\d{4})?", "TIME"),
    (r"\d\d/\w{3}/\d{4}[: ]\d\d:\d\d:\d\d", "TIME"),
    (r"\w+ \d\d, \d{4} - \d\d:\d\d:\d\d", "TIME"),
    (r'(HTTP/1\.[01]" \d{3}) \d+', r"\1 SIZE"),
    (r"\b\d+(?:\.\d+)? ?(?:seconds|s)\b", "DURATION"),
    (r"==+", "=="),  # pytest's, around a duration
    (r"\b[\d.]+=setup\[[\d.,]+\](?:\+cmd\[[\d.,]+\])?", "DURATION"),
    (r"\[[\d.]+\]", "[N]"),
    (r"\(\d+\)", "(N)"),
    (r"\b(pid[:= ]+)\d+", r"\1N"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"ForkPoolWorker-\d+", "ForkPoolWorker-N"),
    (r"\bgw\d+", "gwN"),  # xdist's workers, and its progress
    (r"\[ *\d+%\]", "[N%]"),
)

THREAD = """
import threading
def boom():
    raise ValueError('in thread')
thread = threading.Thread(target=boom)
thread.start()
thread.join()
"""
SEGFAULT = """
import signal
def segfault():
    signal.raise_signal(signal.SIGSEGV)
segfault()
"""


def needs(*modules: str) -> Callable[[type[unittest.TestCase]], type[unittest.TestCase]]:
    """Skip a class of tests unless the packages are installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))


def steady(text: bytes) -> str:
    """Return a program's output without pids, ports and times."""
    decoded = comparable(text)
    for pattern, name in _VARYING:
        decoded = re.sub(pattern, name, decoded)
    return decoded


@dataclasses.dataclass
class RealResult(Result):
    """Compares programs that print the time, or whose processes race."""

    ordered: bool = True

    def ending(self) -> tuple[int, str, str]:
        out, err = steady(self.stdout), steady(self.stderr)
        if not self.ordered:
            out, err = ("\n".join(sorted(text.split("\n"))).strip() for text in (out, err))
        return self.status, out, err


class Server:
    """A program that runs until it is told to stop, and its descendants."""

    def __init__(self, args: list[str], folder: Path, **options: Any) -> None:
        self.args = args
        self._paths = folder / "stdout.log", folder / "stderr.log"
        with open(self._paths[0], "wb") as out, open(self._paths[1], "wb") as err:
            self.process = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                start_new_session=True,
                **options,
            )

    def printed(self, pattern: str) -> list[Any]:
        """Return ``re.findall`` for the output on stdout and stderr so far."""
        return re.findall(pattern, b"\n".join(p.read_bytes() for p in self._paths).decode())

    def wait_for(self, pattern: str, times: int = 1) -> Any:
        """Wait until something was printed ``count`` times; return the last match."""

        def arrived() -> list[Any] | None:
            # Checked before the logs: all output of an ended program is there.
            ended = self.process.poll() is not None and not self.members()
            found = self.printed(pattern)
            if len(found) < times and ended:
                raise AssertionError("%r: ended without it\n%s" % (pattern, self.result()))
            return found if len(found) >= times else None

        try:
            return wait_until(arrived)[-1]
        except AssertionError as error:
            raise AssertionError("%r: %s\n%s" % (pattern, error, self.result())) from None

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> None:
        """Wait until the last of its processes has ended."""
        self.process.wait(DEADLINE)
        wait_until(lambda: not self.members(), "the end of all processes of %r" % self.args)

    def members(self) -> list[str]:
        """Return the server's processes that have not ended, by /proc/PID/stat."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = path.read_text()
            except OSError:  # it has ended meanwhile
                continue
            state, _, group = text.rpartition(")")[2].split()[:3]
            if int(group) == self.process.pid and state not in "ZX":
                found.append(text)
        return found

    def kill(self) -> None:
        """Kill all remaining processes; the group ends with its last member."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            self.process.poll()
            time.sleep(0.01)
        self.process.wait(DEADLINE)

    def result(self, crash: bytes = b"") -> RealResult:
        out, err = (path.read_bytes() for path in self._paths)
        status = self.process.returncode
        status = 999 if status is None else status
        return RealResult(self.args, status, out, err, crash, ordered=False)


Scenario = Callable[[Server], None]


class RealProgramTest(ProgramTest):
    """Runs programs whose output varies, and servers."""

    def serve(
        self, program: Sequence[str], scenario: Scenario, env: dict[str, str] | None = None
    ) -> RealResult:
        """Run ``scenario`` with a server, without and with crashenv; return the second run."""
        without = self._serve(program, scenario, environment(**(env or {})))
        result = self._serve_with(program, scenario, env or {})
        self.assertEqual(without.ending(), result.ending(), "\n%s\n\n%s" % (without, result))
        return result

    def _serve_with(
        self, program: Sequence[str], scenario: Scenario, env: dict[str, str]
    ) -> RealResult:
        crash_output = CrashOutput("pipe")
        variables = environment(**{"PYDEBUG": "crashfd=%d" % crash_output.passed, **env})
        passed = [crash_output.passed]
        try:
            result = self._serve(program, scenario, variables, pass_fds=passed)
        finally:
            crash = crash_output.finish()
        result.crash = crash
        return result

    def _serve(
        self, program: Sequence[str], scenario: Scenario, env: dict[str, str], **options: Any
    ) -> RealResult:
        server = Server(command(program), self.folder, env=env, **options)
        try:
            scenario(server)
            server.wait()
        finally:
            server.kill()
        return server.result()

    def check_kinds(self, result: Result, *kinds: str) -> list[Report]:
        """Check for one report of each kind, nothing else; each is also on stderr."""
        self.assertEqual([r.kind for r in result.reports], list(kinds), str(result))
        self.assertEqual(result.dump, "", str(result))
        for report in result.reports:
            self.assertIn(report.body.encode(), result.stderr)
        return result.reports

    def check_dump_of(self, result: Result, function: str, times: int = 1) -> None:
        """Check for native dumps that contain ``function``, and no report."""
        self.assertEqual(result.reports, [], str(result))
        dumps = result.dump.count("Fatal Python error: Segmentation fault")
        self.assertEqual(dumps, times, str(result))
        self.assertEqual(result.dump.count(" in %s\n" % function), times, str(result))

    def run_real(
        self,
        program: Sequence[str],
        *,
        pydebug: str = "crashfd={fd}",
        ordered: bool = True,
        **options: Any,
    ) -> RealResult:
        """Do ``run_both`` for a program whose output varies."""
        without, result = (
            RealResult(**vars(self.run_with(program, pydebug=value, **options)), ordered=ordered)
            for value in ("", pydebug)
        )
        self.assertEqual(without.ending(), result.ending(), "\n%s\n\n%s" % (without, result))
        return result

    def run_to_file(self, program: Sequence[str], **options: Any) -> RealResult:
        """Do ``run_real`` with a file as crash output, which every descendant can open."""
        path = self.folder / "crash.log"
        path.unlink(missing_ok=True)
        result = self.run_real(program, pydebug="crashfile=%s" % path, **options)
        self.assertEqual(result.crash, b"")
        result.crash = path.read_bytes()
        return result


def get(address: str | int, path: str) -> str:
    """Return a page from a Unix socket's path or a port; "" if the server hung up."""
    connection = http.client.HTTPConnection("127.0.0.1", timeout=DEADLINE)
    if isinstance(address, str):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DEADLINE)
        connection.sock.connect(address)
    else:
        connection.port = address
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return ""
    finally:
        connection.close()
