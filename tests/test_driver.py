"""The driver: signals that the tests' shell ignores are not ignored by programs."""

from __future__ import annotations

import signal
import subprocess
import sys
import unittest

from tests.driver import ROOT, ProgramTest

# As a shell's background job: ignored signals stay ignored after execve(2).
SOURCE = """
from tests.driver import run
program = "import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in (1, 2, 3)])"
print(run(program).stdout.decode(), end="")
"""


class Dispositions(ProgramTest):
    def test_programs_of_a_background_job_get_the_default(self) -> None:
        for trap in ("", "trap '' HUP INT QUIT; "):
            with self.subTest(trap):
                command = trap + "exec %s -c '%s'" % (sys.executable, SOURCE)
                done = subprocess.run(
                    ["sh", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=False
                )
                self.assertEqual(done.stdout, b"[False, False, False]\n", done.stderr)


class Deadline(unittest.TestCase):
    def test_ends_a_wait_without_one(self) -> None:
        class Waiting(ProgramTest):
            def test(self) -> None:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                subprocess.Popen(["sleep", "60"]).wait()

        result = unittest.TestResult()
        Waiting("test").run(result)
        self.assertEqual(len(result.failures), 1, result)
        self.assertIn("the test took more than", result.failures[0][1])


if __name__ == "__main__":
    unittest.main()
