"""Sub-interpreters: site, and so the bootstrap, runs again in each."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
import unittest

from tests.driver import ProgramTest

MODULE = next(
    (n for n in ("_interpreters", "_xxsubinterpreters") if importlib.util.find_spec(n)), ""
)
INNER = """
import threading
def work(): raise ValueError('inside')
t = threading.Thread(target=work, name='inner')
t.start()
t.join()
"""
PROGRAM = """
import {module} as interpreters, sys, textwrap
def run(source):
    # Up to 3.11 an isolated one has no threads.
    inner = interpreters.create(**(dict(isolated=False) if sys.version_info < (3, 12) else dict()))
    run = getattr(interpreters, 'exec', None) or interpreters.run_string
    try:
        return run(inner, source)
    except Exception as error:
        print('raised', type(error).__name__)
    finally:
        interpreters.destroy(inner)
"""


def program(main: str) -> str:
    return PROGRAM.format(module=MODULE) + textwrap.dedent(main)


@unittest.skipUnless(MODULE, "the interpreter has no sub-interpreters")
class SubInterpreters(ProgramTest):
    def test_thread_inside(self) -> None:
        result = self.run_both(program("run(%r)" % INNER))
        (report,) = result.reports
        self.assertEqual((report.kind, report.fields["thread"]), ("thread", "inner"))
        self.assertEqual(report.body.encode(), result.stderr)

    def test_crashfile(self) -> None:
        path = self.folder / "crash.log"
        self.run_with(program("run(%r)" % INNER), pydebug="crashfile=%s" % path)
        self.assertEqual(path.read_text().count("crashenv: report kind=thread "), 1)

    def test_exception_that_goes_back_to_the_caller(self) -> None:
        self.check_silent(program("run('1/0')"))

    def test_a_thousand_leak_nothing_and_leave_reporting_intact(self) -> None:
        main = """
            import os
            before = os.listdir('/proc/self/fd')
            for _ in range(int(sys.argv[1])):
                run('pass')
            print(len(os.listdir('/proc/self/fd')) - len(before))
            1/0
            """
        count = os.environ.get("CRASHENV_SUBINTERPRETERS", "100")
        (report,) = self.check_reports(["-c", program(main), count], "exception")
        self.assertIn("ZeroDivisionError", report.body)

    def test_native_dump_afterwards(self) -> None:
        result = self.run_both(program("run('pass')\nimport os; os.kill(os.getpid(), 11)"))
        self.assertIn("Segmentation fault", result.dump)

    @unittest.skipUnless(sys.version_info >= (3, 14), "InterpreterPoolExecutor came with 3.14")
    def test_pool(self) -> None:
        self.check_silent(
            """
            from concurrent.futures import InterpreterPoolExecutor
            with InterpreterPoolExecutor(2) as pool:
                print(list(pool.map(int, ['1', '2'])))
                try: list(pool.map(int, ['x']))
                except ValueError as error: print(error)
            """
        )
