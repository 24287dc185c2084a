"""``crashenv run`` as process 1 of a PID namespace, and as a sub-reaper, beside tini."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

from tests.driver import DEADLINE, MonitorTest, Result, children, monitor, wait_until

SH = "/bin/sh"
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
TINI = shutil.which("tini")

# Each iteration leaves an orphan, whose parent ends at once.
ORPHANS = "i=0; while [ $i -lt %d ]; do ( : & ); i=$((i + 1)); done; echo done; read x"


def can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


class InitTest(MonitorTest):
    def setUp(self) -> None:
        super().setUp()
        if not can_unshare():
            self.skipTest("needs unshare(1) and the right to make a PID namespace")

    def run_init(self, init: list[str], program: list[str], **options: object) -> Result:
        args = [*UNSHARE, *init, *program]
        done = subprocess.run(args, env=self.env, capture_output=True, timeout=DEADLINE, **options)  # type: ignore[call-overload]
        return Result(args, done.returncode, done.stdout, done.stderr)

    def inits(self) -> list[list[str]]:
        """Return the monitor and, if it is installed, tini, which must do the same."""
        return [monitor("--quiet")] + ([[TINI, "--"]] if TINI else [])

    def test_tini_is_compared_with(self) -> None:
        if TINI is None:
            self.skipTest("tini is not installed")
        self.assertEqual(len(self.inits()), 2)

    def test_statuses(self) -> None:
        for script, status in (
            ("exit 0", 0),
            ("exit 7", 7),
            ("kill -TERM $$", 128 + signal.SIGTERM),
            ("kill -KILL $$", 128 + signal.SIGKILL),
            ("kill -SEGV $$", 128 + signal.SIGSEGV),
        ):
            for init in self.inits():
                with self.subTest(script, init=init[0]):
                    result = self.run_init(init, [SH, "-c", script])
                    self.assertEqual(result.status, status, str(result))
        for name, status in (("no-such-command", 127), ("/dev/null", 126)):
            for init in self.inits():
                with self.subTest(name, init=init[0]):
                    self.assertEqual(self.run_init(init, [name]).status, status)

    def test_signals_are_passed_on(self) -> None:
        script = "trap 'echo got; exit 5' %s; echo ready; read x; read x"
        for name in ("TERM", "INT", "HUP", "USR1", "ABRT", "CONT"):
            for init in self.inits():
                if (name, init[0]) == ("ABRT", TINI):
                    continue  # the program dies of it
                with self.subTest(name, init=init[0]):
                    process = subprocess.Popen(
                        [*UNSHARE, *init, SH, "-c", script % name],
                        env=self.env,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                    )
                    assert process.stdin and process.stdout
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                    first = children(process.pid)[0]
                    os.kill(first, getattr(signal, "SIG" + name))
                    self.assertEqual(process.stdout.readline(), b"got\n")
                    self.assertEqual(process.wait(DEADLINE), 5)
                    process.stdin.close()
                    process.stdout.close()

    def test_every_orphan_is_reaped(self) -> None:
        for init in self.inits():
            with self.subTest(init[0]), with_orphans([*UNSHARE, *init], self.env, 50) as process:
                reaper = children(process.pid)[0]
                wait_until(lambda: len(children(reaper)) == 1, "the end of the zombies")  # noqa: B023

    def test_report_and_death(self) -> None:
        result = self.run_init(monitor(), [sys.executable, "-c", "1/0"])
        self.assertEqual(result.status, 1, str(result))
        self.check_record("exception", result)
        result = self.run_init(monitor(), [sys.executable, "-c", "import os; os.abort()"])
        self.assertEqual(result.status, 128 + signal.SIGABRT)
        self.assertEqual([record["kind"] for record in self.records()], ["exception", "death"])

    def test_orphan_that_keeps_the_pipe_does_not_hang_it(self) -> None:
        result = self.run_init(monitor(), [SH, "-c", "sleep 60 & exit 3"])
        self.assertEqual(result.status, 3, str(result))


class SubreaperTest(MonitorTest):
    def test_every_orphan_is_reaped(self) -> None:
        with with_orphans(monitor("--quiet"), self.env, 50) as process:
            wait_until(lambda: len(children(process.pid)) == 1, "the end of the zombies")

    def test_orphans_become_its_children(self) -> None:
        script = "( sleep 60 & echo $! ); read x"
        with self.started_monitored([SH, "-c", script]) as process:
            assert process.stdout
            orphan = process.stdout.readline().decode().strip()
            wait_until(lambda: int(orphan) in children(process.pid), "the orphan")
            os.kill(int(orphan), signal.SIGKILL)
            wait_until(lambda: int(orphan) not in children(process.pid), "its end")

    def test_ten_thousand_descendants_cost_no_memory(self) -> None:
        with with_orphans(monitor("--quiet"), self.env, 100) as process:
            few = peak(process.pid)
        with with_orphans(monitor("--quiet"), self.env, 5000) as process:
            wait_until(lambda: len(children(process.pid)) == 1, "the end of the zombies")
            self.assertLess(peak(process.pid) - few, 300)


@contextlib.contextmanager
def with_orphans(
    prefix: list[str], env: dict[str, str], count: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that has left ``count`` orphans, and that ends with the context."""
    process = subprocess.Popen(
        [*prefix, SH, "-c", ORPHANS % count],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == b"done\n"
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(DEADLINE)


def peak(pid: int) -> int:
    """Return the peak of resident memory, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/%d/status" % pid).read_text())
    assert found
    return int(found.group(1))


if __name__ == "__main__":
    unittest.main()
