"""An exception that leaves the main thread, however the program was started."""

from __future__ import annotations

import sys
import unittest
import zipfile

from tests.driver import OUTPUTS, PYPY, ProgramTest

LOOKING = """
import sys, traceback
class Looking:
    def __init__(self, out): self.out = out
    def write(self, text): self.out.write('%s> %s' % (sys._getframe(1).f_code.co_name, text))
    def flush(self): self.out.flush()
sys.stderr = Looking(sys.stderr)
"""


class MainThread(ProgramTest):
    def test_hello_reaches_only_stderr_and_the_crash_both(self) -> None:
        # Go: runtime/debug TestSetCrashOutput
        result = self.run_both("import sys; sys.stderr.write('hel' 'lo\\n'); raise ValueError")
        (report,) = result.reports
        self.assertNotIn("hello", report.body)
        self.assertEqual(result.stderr, b"hello\n" + report.body.encode())

    def test_every_kind_of_crash_output_gets_the_report(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                report = self.check_exception("raise ValueError('boom')", output=output)
                self.assertIn("ValueError: boom\n", report.body)

    def test_script(self) -> None:
        report = self.check_exception([self.write("my app.py", "raise ValueError('boom')")])
        self.assertEqual(report.fields["program"], str(self.folder / "my app.py"))

    def test_command(self) -> None:
        self.assertEqual(self.check_exception("1/0").fields["program"], "-c")

    def test_module(self) -> None:
        path = self.write("package/module.py", "1/0")
        report = self.check_exception(["-m", "package.module"], cwd=self.folder)
        self.assertEqual(report.fields["program"], path)

    def test_standard_input(self) -> None:
        self.check_exception([], input=b"def f():\n    1/0\nf()\n")
        self.check_exception(["-"], input=b"1/0\n")

    def test_folder_with_main(self) -> None:
        self.write("app/__main__.py", "1/0")
        self.check_exception([str(self.folder / "app")])

    def test_zip_with_main(self) -> None:
        path = self.folder / "app.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__main__.py", "1/0")
        self.check_exception([str(path)])

    def test_main_module_that_cleared_its_names(self) -> None:
        for source in ("__name__ = 'app'", "del __name__", "globals().clear()"):
            with self.subTest(source):
                self.check_exception(source + "\n1/0")

    def test_header(self) -> None:
        report = self.check_exception("1/0")
        self.assertEqual(report.fields["thread"], "MainThread")
        self.assertEqual(report.fields["python"], sys.version.split()[0])
        self.assertRegex(report.fields["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertTrue(report.fields["pid"].isdigit())
        if not PYPY:  # it has no get_native_id
            self.assertEqual(report.fields["tid"], report.fields["pid"])


class Import(ProgramTest):
    def test_missing_module(self) -> None:
        report = self.check_exception("import missing_module_x")
        self.assertIn("No module named 'missing_module_x'", report.body)

    def test_error_in_a_modules_top_level(self) -> None:
        self.write("broken.py", "def load():\n    raise KeyError('k')\nload()\n")
        report = self.check_exception([self.write("app.py", "import broken")])
        self.assertIn("KeyError: 'k'", report.body)

    def test_syntax_error_in_the_script(self) -> None:
        report = self.check_exception([self.write("app.py", "x = 1\ndef f(:\n")])
        self.assertIn("SyntaxError", report.body)

    def test_syntax_error_in_an_import(self) -> None:
        self.write("broken.py", "def f(:\n")
        self.check_exception([self.write("app.py", "import broken")])

    def test_script_that_is_no_text(self) -> None:
        path = self.folder / "app.py"
        path.write_bytes(b"x = '\xff'\n")
        report = self.check_exception([str(path)])
        self.assertIn("SyntaxError", report.body)


class Values(ProgramTest):
    """Exceptions that are hard to print."""

    def test_chain(self) -> None:
        report = self.check_exception(
            """
            try:
                1/0
            except ZeroDivisionError as error:
                raise ValueError('second') from error
            """
        )
        self.assertIn("direct cause", report.body)

    def test_cyclic_chain(self) -> None:
        self.check_exception(
            """
            a, b = ValueError('a'), ValueError('b')
            a.__cause__, b.__cause__ = b, a
            raise a
            """
        )

    @unittest.skipUnless(sys.version_info >= (3, 11), "exception groups came with Python 3.11")
    def test_group_with_notes(self) -> None:
        report = self.check_exception(
            """
            error = ValueError('one')
            error.add_note('a note')
            raise ExceptionGroup('many', [error, ExceptionGroup('inner', [KeyError('k')])])
            """
        )
        self.assertIn("a note", report.body)
        self.assertIn("KeyError: 'k'", report.body)

    def test_deep_recursion(self) -> None:
        report = self.check_exception(
            "import sys; sys.setrecursionlimit(10000)\ndef f(n): return f(n + 1)\nf(0)"
        )
        self.assertIn("RecursionError", report.body)

    def test_memory_error(self) -> None:
        self.check_exception("raise MemoryError")
        self.check_exception("x = 'x' * (1 << 62)")

    def test_hostile_str_runs_once_and_prints_what_it_prints(self) -> None:
        for source in (
            "raise RuntimeError('in str')",
            "return 7",
            "print('out'); print('err', file=sys.stderr); return 'text'",
            "return '\\udc80 \\x00 \\x1b[31mred'",
            "return 'crashenv: report kind=exception bytes=3\\nabc'",
            "raise KeyboardInterrupt",
            "raise SystemExit(3)",
        ):
            with self.subTest(source):
                program = (
                    "import sys\nclass E(Exception):\n"
                    "    def __str__(self): %s\n    __repr__ = __str__\nraise E(1)" % source
                )
                self.check_exception(program)

    def test_hostile_class(self) -> None:
        # The default hook writes what it cannot print past sys.stderr (_PyObject_Dump).
        (report,) = self.check_reports(
            """
            class Hostile(Exception):
                @property
                def __class__(self):
                    raise RuntimeError('no class')
                @property
                def __notes__(self):
                    raise RuntimeError('no notes')
            raise Hostile('x')
            """,
            "exception",
        )
        self.assertIn("Hostile", report.body.splitlines()[-1])

    def test_surrogates_and_other_scripts(self) -> None:
        report = self.check_exception("raise ValueError('gr\\u00fc\\u00df \\U0001f600 \\ud800')")
        self.assertIn("gr\u00fc\u00df \U0001f600 \\ud800", report.body)

    def test_huge_message(self) -> None:
        result = self.run_both("raise ValueError('begin' + 'x' * 100_000_000 + 'end')")
        (report,) = result.reports
        self.assertLessEqual(len(result.crash), 1 << 20)
        self.assertGreater(len(result.crash), (1 << 20) - 200)
        self.assertIn("ValueError: begin", report.body)
        self.assertTrue(report.body.endswith("end\n"))
        left_out = int(report.body.split("[crashenv: ")[1].split(" ")[0])
        kept = len(report.body.encode()) - len("\n[crashenv:  bytes left out]\n%d" % left_out)
        self.assertEqual(kept + left_out, len(result.stderr))

    def test_long_message_without_the_type_in_a_source_line(self) -> None:
        """From 3.13 on, and on PyPy, the type and the message are printed as one piece."""
        self.check_exception("kind = ValueError\nraise kind('x' * 100_000)")

    def test_stderr_in_another_encoding(self) -> None:
        result = self.run_both(
            "raise ValueError('gr\\u00fc\\u00df')", env={"PYTHONIOENCODING": "ascii"}
        )
        self.assertIn("gr\u00fc\u00df", result.reports[0].body)

    def test_colour_stays_on_the_terminal(self) -> None:
        report = self.run_both("1/0", env={"FORCE_COLOR": "1"}).reports[0]
        self.assertNotIn("\x1b", report.body)
        self.assertIn("ZeroDivisionError: division by zero\n", report.body)


class Replaced(ProgramTest):
    def test_functions_that_the_program_replaced(self) -> None:
        for name in (
            "sys.getrecursionlimit",
            "sys.setrecursionlimit",
            "_signal.getsignal",
            "_signal.pthread_sigmask",
            "_signal.sigpending",
        ):
            for hook in ("", "sys.excepthook = lambda *args: None\n"):
                with self.subTest(name=name, hook=hook):
                    source = "import _signal, sys\n%s%s = None\n1/0" % (hook, name)
                    (report,) = self.check_reports(source, "exception")
                    self.assertIn("Traceback", report.body)

    def test_all_modules_forgotten(self) -> None:
        (report,) = self.check_reports("import sys; sys.modules.clear(); 1/0", "exception")
        self.assertIn("ZeroDivisionError: division by zero", report.body)
        self.assertIn("time", report.fields)


class Stderr(ProgramTest):
    """Whatever sys.stderr is, the report is whole and stderr is as without crashenv."""

    EXPECTED = "ZeroDivisionError: division by zero\n"

    def check_broken(self, source: str) -> None:
        (report,) = self.check_reports(source + "\n1/0", "exception")
        self.assertTrue(report.body.startswith("Traceback (most recent call last):\n"), report.body)
        self.assertTrue(report.body.endswith(self.EXPECTED), report.body)

    def test_none(self) -> None:
        self.check_broken("import sys; sys.stderr = None")

    def test_deleted(self) -> None:
        self.check_broken("import sys; del sys.stderr")

    def test_closed(self) -> None:
        self.check_broken("import sys; sys.stderr.close()")

    def test_descriptor_closed(self) -> None:
        self.check_broken("import os; os.close(2)")

    def test_write_raises(self) -> None:
        self.check_broken(
            """
import sys
class Broken:
    def write(self, text): raise OSError('no')
    def flush(self): pass
sys.stderr = Broken()
"""
        )

    def test_errors_are_strict(self) -> None:
        source = "import sys; sys.stderr.reconfigure(encoding='ascii', errors='strict')"
        for cause in ("raise ValueError('\\u00e9')", "exec(compile('1/0', '\\u00e9', 'exec'))"):
            with self.subTest(cause):
                (report,) = self.check_reports(source + "\n" + cause, "exception")
                self.assertIn("\u00e9", report.body)

    def test_class_of_the_same_name(self) -> None:
        self.check_broken(
            """
import sys
class TextIOWrapper:
    closed, line_buffering, errors = False, True, 'backslashreplace'
    def write(self, text): print([text])
    def flush(self): print('flush')
sys.stderr = TextIOWrapper()
"""
        )

    def test_buffer_that_is_never_flushed(self) -> None:
        self.check_broken(
            "import atexit, os, sys; sys.stderr.reconfigure(line_buffering=False)\n"
            "atexit.register(os._exit, 7)"
        )

    def test_unbuffered(self) -> None:
        self.check_exception(["-u", "-c", "1/0"])

    @unittest.skipIf(sys.version_info < (3, 13), "a hook in C has no frame")
    def test_write_that_looks_at_its_caller(self) -> None:
        self.check_broken(LOOKING)

    def test_write_that_looks_at_its_callers_in_a_thread(self) -> None:
        source = LOOKING + "import threading\nt = threading.Thread(target=lambda: 1/0)\n"
        stack = "sys._getframe(1).f_code.co_name"
        looking = source.replace(stack, "len(traceback.extract_stack())")
        (report,) = self.check_reports(looking + "t.start()\nt.join()", "thread")
        self.assertTrue(report.body.endswith(self.EXPECTED), report.body)

    def test_object_without_attributes(self) -> None:
        self.check_broken(
            """
import sys
class Slots:
    __slots__ = ('out',)
    def __init__(self, out): self.out = out
    def write(self, text): return self.out.write('> ' + text)
    def flush(self): self.out.flush()
sys.stderr = Slots(sys.stderr)
"""
        )

    def test_proxy(self) -> None:
        """It may have another stream for each thread: a writer of ours would hide this."""
        self.check_reports(
            """
            import sys, threading
            local = threading.local()
            class Proxy:
                def __getattr__(self, name):
                    return getattr(getattr(local, 'stream', sys.__stderr__), name)
            class Printing(Exception):
                def __str__(self):
                    if not threads:  # it is formatted once more for the report
                        threads.append(threading.Thread(target=work))
                        threads[0].start()
                        threads[0].join()
                    return 'boom'
            def work():
                local.stream = sys.__stdout__
                print('to stdout', file=sys.stderr, flush=True)
            threads = []
            sys.stderr = Proxy()
            raise Printing
            """,
            "exception",
        )

    def test_replaced_write(self) -> None:
        self.check_broken(
            "import sys; w = sys.stderr.write; sys.stderr.write = lambda t: w(t.upper())"
        )

    def test_write_is_as_it_was_afterwards(self) -> None:
        self.check_reports(
            """
            import atexit, sys
            atexit.register(lambda: print('write' in vars(sys.stderr)))
            1/0
            """,
            "exception",
        )
