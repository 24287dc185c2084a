"""Whatever fails in the monitor, the program keeps its parent, which ends as the program ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import unittest
from typing import Any

from tests.driver import MonitorTest, is_root, needs_monitor, run

_PR_CAPBSET_DROP = 24
_CAP_KILL = 5
_NOBODY = 65534


def lose_the_right_to_signal() -> None:
    """After the next exec, root cannot signal another user's processes (capabilities(7))."""
    if ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_KILL, 0, 0, 0):
        raise OSError


@needs_monitor
class SurvivingTest(MonitorTest):
    def broken(self, patch: str, program: str, *options: str, **others: Any) -> list[str]:
        """Run ``program`` with a monitor that has executed ``patch``; return its stderr."""
        self.write(
            "monitor.py",
            "import sys\n%s\nfrom crashenv.__main__ import main\nmain(sys.argv[1:])\n" % patch,
        )
        path = self.write("app.py", program)
        args = [str(self.folder / "monitor.py"), "run", *options, sys.executable, path]
        result = run(args, env=self.env, **others)
        self.assertEqual(result.status, 5, str(result))
        return result.stderr.decode().splitlines()

    def test_signal_that_may_not_be_passed_on(self) -> None:
        if not is_root():
            self.skipTest("needs root, to become another user")
        program = """
            import os, sys
            os.setresuid(%d, %d, %d)
            print("ready", flush=True)
            sys.stdin.read()
            sys.exit(5)
        """ % (_NOBODY, _NOBODY, _NOBODY)
        others: dict[str, Any] = {"preexec_fn": lose_the_right_to_signal}
        with self.started_monitored(program, **others) as process:
            assert process.stdout
            process.stdout.readline()
            os.kill(process.pid, signal.SIGTERM)
            os.kill(process.pid, signal.SIGUSR1)
            _, stderr = process.communicate()
        self.assertEqual(process.returncode, 5)
        text = "crashenv: signal %d may not be passed on to the program\n"
        self.assertEqual(
            sorted(stderr.decode().splitlines(True)),
            sorted(text % number for number in (signal.SIGTERM, signal.SIGUSR1)),
        )

    def test_signals_that_the_c_library_keeps_for_itself(self) -> None:
        for number in (32, 33):
            with self.subTest(number):
                program = "import os; os.kill(os.getpid(), %d)" % number
                # Without a preexec_fn subprocess may use vfork(2), and then they are ignored.
                result = self.run_monitored(program, preexec_fn=lambda: None)
                self.assertEqual((result.status, result.stderr), (-number, b""), str(result))

    def test_no_memory_for_a_report(self) -> None:
        patch = """
from crashenv._reading.frames import Splitter
def feed(self, data): raise MemoryError
Splitter.feed = feed
"""
        program = "import sys, threading; t = threading.Thread(target=lambda: 1/0)\n"
        program += "t.start(); t.join(); sys.exit(5)"
        lines = self.broken(patch, program, "--quiet")
        self.assertEqual(lines[-1], "crashenv: no memory for a report")
        self.assertIn("ZeroDivisionError: division by zero", lines)

    def test_failing_steps_cost_lines_and_no_more(self) -> None:
        patch = """
from crashenv._monitor import loop
def fail(*args): raise RuntimeError("broken")
loop.Monitor.%s = fail
"""
        for name in ("_read", "_handle", "_let_go", "_finish"):
            with self.subTest(name):
                lines = self.broken(patch % name, "import sys; sys.exit(5)")
                self.assertTrue(lines, name)
                for line in lines:
                    self.assertRegex(line, r"\Acrashenv: .*RuntimeError\('broken'\)\Z")

    def test_what_fails_for_ever_is_said_a_few_times_and_takes_no_time(self) -> None:
        patch = """
from crashenv._monitor import loop
calls = []
def fail(self):
    calls.append(1)
    raise RuntimeError("broken")
loop.Monitor._read = fail
import atexit, os
end = os._exit
def _exit(status):
    os.write(2, b"%d calls" % len(calls))
    end(status)
os._exit = _exit
"""
        program = """
            import os, sys, threading
            parent = os.getppid()
            def times():
                with open("/proc/%d/stat" % parent) as file:
                    return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
            import signal, time
            for _ in range(30):
                os.kill(parent, signal.SIGCONT)
                time.sleep(0.01)
            before = times()
            time.sleep(0.3)
            assert times() - before <= 2, (before, times())
            sys.exit(5)
        """
        lines = self.broken(patch, program)
        self.assertGreater(int(lines.pop().partition(" ")[0]), 10)
        self.assertLessEqual(len(lines), 11)
        self.assertIn("crashenv: reports are no longer read: RuntimeError('broken')", lines)


if __name__ == "__main__":
    unittest.main()
