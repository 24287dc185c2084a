"""Programs that run another one in their own process: profilers, tracers, debuggers."""

from __future__ import annotations

import os
import unittest
from typing import Any

from tests.driver import INSTALLED, run
from tests.programs.program import SEGFAULT, THREAD, RealProgramTest, needs

CRASH = """
def main():
    raise ValueError('boom')
main()
"""
RUN_PATH = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
RUN_MODULE = "import runpy; runpy.run_module('app', run_name='__main__', alter_sys=True)"


class LauncherTest(RealProgramTest):
    """One script for each way to crash."""

    def setUp(self) -> None:
        super().setUp()
        self.app = self.write("app.py", CRASH)
        self.thread = self.write("thread.py", THREAD)
        self.segfault = self.write("segfault.py", SEGFAULT)

    def check_transparent(self, *launcher: str) -> None:
        """Check that it lets the program's exception through, as the interpreter does."""
        result = self.run_real([*launcher, self.app], cwd=self.folder)
        (report,) = self.check_kinds(result, "exception")
        self.assertTrue(report.body.endswith("\nValueError: boom\n"), str(result))
        self.check_thread_and_signal(*launcher)

    def check_handles(self, *launcher: str, **options: Any) -> None:
        """Check that it prints the program's exception itself, and continues."""
        result = self.run_real([*launcher, self.app], cwd=self.folder, **options)
        self.assertIn(b"ValueError: boom", result.stdout + result.stderr)
        self.assertEqual(result.crash, b"", str(result))
        self.check_thread_and_signal(*launcher, **options)

    def check_thread_and_signal(self, *launcher: str, **options: Any) -> None:
        result = self.run_real([*launcher, self.thread], cwd=self.folder, **options)
        self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))
        result = self.run_real([*launcher, self.segfault], cwd=self.folder, **options)
        self.check_dump_of(result, "segfault")
        self.assertEqual(result.status, -11, str(result))


class StandardLibrary(LauncherTest):
    def test_runpy(self) -> None:
        self.check_transparent("-c", RUN_PATH)
        result = self.run_real(["-c", RUN_MODULE], cwd=self.folder)
        self.check_kinds(result, "exception")

    def test_cprofile(self) -> None:
        self.check_transparent("-m", "cProfile", "-o", str(self.folder / "stats"))
        module = ["-m", "cProfile", "-o", str(self.folder / "stats"), "-m", "app"]
        self.check_kinds(self.run_real(module, cwd=self.folder), "exception")

    def test_profile_is_of_the_program_alone(self) -> None:
        result = self.run_real(["-m", "cProfile", "-s", "name", self.app], ordered=False)
        self.check_kinds(result, "exception")

    def test_trace_counts(self) -> None:
        self.check_transparent("-m", "trace", "--count", "--coverdir", str(self.folder / "cover"))

    def test_trace_of_every_line(self) -> None:
        library = "--ignore-dir=" + os.path.dirname(os.__file__)
        self.check_transparent("-m", "trace", "--trace", library)

    def test_pdb(self) -> None:
        # Post-mortem: the debugger catches it.
        self.check_handles("-m", "pdb", "-c", "continue", input=b"quit\n")

    def test_timeit(self) -> None:
        result = self.run_real(["-m", "timeit", "-n", "1", "raise ValueError('boom')"])
        self.assertEqual((result.status, result.crash), (1, b""), str(result))


@needs("coverage")
class Coverage(LauncherTest):
    def test_run(self) -> None:
        # It catches the exception, prints it and calls sys.exit.
        self.check_handles("-m", "coverage", "run")

    @unittest.skipUnless(
        INSTALLED, "crashenv is not installed: coverage takes it for the program's"
    )
    def test_report_is_of_the_program_alone(self) -> None:
        self.run_real(["-m", "coverage", "run", self.thread], cwd=self.folder)
        without = run(["-m", "coverage", "report"], cwd=self.folder)
        self.assertIn(b"thread.py", without.stdout)
        self.assertNotIn(b"crashenv", without.stdout)


@needs("IPython")
class IPython(LauncherTest):
    OPTIONS = ("--no-banner", "--colors=NoColor", "--simple-prompt", "--no-confirm-exit")
    LINES = b"1/0\nx = = 1\nimport nothing_here\n%run app.py\nprint('end')\n"

    def setUp(self) -> None:
        super().setUp()
        self.ipython = ["-m", "IPython", *self.OPTIONS]
        self.env = {"IPYTHONDIR": str(self.folder / "ipython"), "HOME": str(self.folder)}

    def test_script(self) -> None:
        # IPython shows the exception itself; its status is 1.
        result = self.run_real([*self.ipython, self.app], env=self.env)
        self.assertIn(b"ValueError: boom", result.stdout + result.stderr)
        self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def test_thread_of_a_script(self) -> None:
        result = self.run_real([*self.ipython, self.thread], env=self.env)
        self.check_kinds(result, "thread")

    def test_script_killed_by_a_signal(self) -> None:
        result = self.run_real([*self.ipython, self.segfault], env=self.env)
        self.check_dump_of(result, "segfault")

    def test_errors_at_the_prompt(self) -> None:
        result = self.run_real(self.ipython, env=self.env, input=self.LINES, cwd=self.folder)
        for name in (b"ZeroDivisionError", b"SyntaxError", b"ModuleNotFoundError", b"ValueError"):
            self.assertIn(name, result.stdout)
        self.assertEqual((result.status, result.crash), (0, b""), str(result))

    def test_thread_at_the_prompt(self) -> None:
        lines = b"import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()\n"
        result = self.run_real(self.ipython, env=self.env, input=lines, cwd=self.folder)
        self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))
