"""What is not a crash writes nothing to the crash output."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import unittest

from tests.driver import PYPY, CrashOutput, WatchedTest, environment, run, wait_until


class Endings(WatchedTest):
    def test_clean_exit(self) -> None:
        self.check_silent("print('hello')")

    def test_exit_statuses(self) -> None:
        for argument in ("", "0", "3", "'message'", "None", "object"):
            with self.subTest(argument):
                self.check_silent("import sys; sys.exit(%s)" % argument)
        self.check_silent("import os; os._exit(4)")
        self.check_silent("raise SystemExit(5)")

    def test_keyboard_interrupt(self) -> None:
        self.check_silent("raise KeyboardInterrupt")
        result = self.check_silent("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
        self.assertEqual(result.status, -signal.SIGINT)

    def test_signals_that_dump_no_core(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGALRM):
            with self.subTest(signum.name):
                result = self.check_silent("import os; os.kill(os.getpid(), %d)" % signum)
                self.assertEqual(result.status, -signum)

    def test_handled_exceptions_and_warnings(self) -> None:
        self.check_silent(
            """
            import logging, sys, traceback, warnings
            warnings.warn('careful')
            try:
                1/0
            except ZeroDivisionError:
                logging.exception('handled')
                traceback.print_exc()
                sys.excepthook(*sys.exc_info())
                sys.__excepthook__(*sys.exc_info())
            """
        )

    def test_exceptions_that_a_program_stores_as_the_last_one(self) -> None:
        self.check_silent(
            """
            import sys
            def main():
                try:
                    1/0
                except ZeroDivisionError as error:
                    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
                    sys.last_exc = error
                    sys.excepthook(*sys.exc_info())
            main()
            """
        )

    def test_exceptions_that_the_main_module_stores_as_the_last_one(self) -> None:
        program = """
            import sys
            if sys.argv[1] == 'hook': sys.excepthook = lambda *args: print('mine')
            for _ in range(2):
                try:
                    1/0
                except ZeroDivisionError as error:
                    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
                    sys.last_exc = error
                    if sys.argv[2] == 'none': sys.last_traceback = None
            """
        script = self.write("app.py", program)
        for hook in ("hook", "none"):
            for traceback in ("its own", "none"):
                with self.subTest(hook=hook, traceback=traceback):
                    self.check_silent([script, hook, traceback])

    @unittest.skipIf(PYPY, "has no C API to call")
    def test_exceptions_that_c_code_prints(self) -> None:
        program = """
            import ctypes, sys
            if sys.argv[1] == 'hook': sys.excepthook = lambda *args: print('mine')
            for _ in range(2):
                print(ctypes.pythonapi.PyRun_SimpleString(b'1/0'))
            if sys.argv[2] == 'exit': sys.exit(3)
            """
        script = self.write("app.py", program)
        for hook in ("hook", "none"):
            for end in ("exit", "none"):
                with self.subTest(hook=hook, end=end):
                    self.check_silent([script, hook, end])

    def test_error_in_an_exit_handler(self) -> None:
        self.check_silent("import atexit; atexit.register(lambda: 1/0)")

    def test_broken_pipe_at_shutdown(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        program = "import os; os.dup2(%d, 1); print('x')" % writer
        result = self.check_silent(program, pass_fds=[writer])
        os.close(writer)
        self.assertIn(b"BrokenPipeError", result.stderr)

    def test_assert_in_a_unittest(self) -> None:
        source = "import unittest\nclass T(unittest.TestCase):\n def test(self): 1/0"
        path = self.write("test_x.py", source)
        result = self.run_with(["-m", "unittest", path])
        self.assertEqual((result.status, result.crash), (1, b""))

    def test_failing_doctest(self) -> None:
        path = self.write("doc.py", '"""\n>>> 1/0\n3\n>>> raise KeyError\n"""\n')
        self.check_silent(["-m", "doctest", path])


class Prompt(WatchedTest):
    """Errors typed at an interactive prompt."""

    LINES = b"1/0\ndef f(:\nimport nothing_here\nprint('end')\n"

    def test_interactive_by_option(self) -> None:
        env = environment(PYTHON_BASIC_REPL="1")
        self.check_silent(["-i", "-q"], input=self.LINES, env={"PYTHON_BASIC_REPL": "1"})
        self.assertIn(b"ZeroDivisionError", run(["-i", "-q"], input=self.LINES, env=env).stderr)

    def test_code_interact(self) -> None:
        self.check_silent("import code; code.interact(banner='')", input=self.LINES)

    def test_code_interact_with_a_replaced_hook(self) -> None:
        program = (
            "import code, sys; sys.excepthook = lambda *a: print('hook', a[0]); code.interact('')"
        )
        self.check_silent(program, input=self.LINES)

    @unittest.skipIf(PYPY, "PyPy's prompt wants a terminal that is not dumb")
    def test_terminal(self) -> None:
        crash = CrashOutput("pipe")
        master, slave = pty.openpty()
        env = environment(PYDEBUG="crashfd=%d" % crash.passed, TERM="dumb", HOME=str(self.folder))
        process = subprocess.Popen(
            [sys.executable, "-q"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            pass_fds=[crash.passed],
            start_new_session=True,
        )
        os.close(slave)
        seen = b""

        def expect(pattern: bytes) -> None:
            nonlocal seen

            def arrived() -> bool:
                nonlocal seen
                seen += os.read(master, 4096)
                return re.search(pattern, seen) is not None

            wait_until(arrived, repr(pattern))
            seen = b""

        try:
            expect(b">>>>? ")
            for line, answer in ((b"1/0", b"ZeroDivisionError"), (b"def f(:", b"SyntaxError")):
                os.write(master, line + b"\n")
                expect(answer + b"(.|\n)*>>> ")
            os.write(master, b"exit(3)\n")
            self.assertEqual(process.wait(), 3)
        finally:
            process.kill()
            os.close(master)
        self.assertEqual(crash.finish(), b"")

    def test_script_that_crashes_before_the_prompt_is_a_crash(self) -> None:
        result = self.run_with(["-i", "-c", "1/0"], input=b"2/0\n", env={"PYTHON_BASIC_REPL": "1"})
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
        self.assertIn('File "<string>"', result.reports[0].body)

    def test_debuggers_post_mortem(self) -> None:
        script = self.write("app.py", "1/0")
        self.check_silent(["-m", "pdb", "-c", "continue", script], input=b"quit\n")


if __name__ == "__main__":
    unittest.main()
