"""Programs that replace the hooks: one crash, one report, and no other effect."""

from __future__ import annotations

import importlib.util
import sys
import unittest

from tests.driver import INSTALLED, SITECUSTOMIZE, ProgramTest

BACKPORT = sys.version_info < (3, 11) and importlib.util.find_spec("exceptiongroup") is not None
HOOKS = {
    "never chains": "def hook(*args): print('mine', file=sys.stderr)",
    "calls the old one": "old = sys.excepthook\ndef hook(*args): old(*args)",
    "calls the old one twice": "old = sys.excepthook\ndef hook(*args): old(*args); old(*args)",
    "calls the original": "def hook(*args): sys.__excepthook__(*args)",
    "is the original": "hook = sys.__excepthook__",
    "raises": "def hook(*args): raise KeyError('in hook')",
    "raises after the old one": "old = sys.excepthook\ndef hook(*args): old(*args); raise KeyError",
    "exits": "def hook(*args): raise SystemExit(7)",
    "is None": "hook = None",
    "is no function": "hook = 7",
    "hides frames": (
        "old = sys.excepthook\ndef hook(t, v, tb): old(t, v.with_traceback(tb.tb_next), tb.tb_next)"
    ),
    "prints by itself": (
        "import traceback\ndef hook(t, v, tb): traceback.print_exception(t, v, tb)"
    ),
}
MAIN = "import sys\n%s\nsys.excepthook = hook\ndef f(): raise ValueError('boom')\nf()"
THREAD = """
import sys, threading
def work(): raise ValueError('boom')
%s
t = threading.Thread(target=work, name='t')
t.start()
t.join()
"""
THREAD_HOOKS = {
    "never chains": "def hook(args): print('mine', file=sys.stderr)",
    "calls the old one": "old = threading.excepthook\ndef hook(args): old(args)",
    "calls the old one twice": "old = threading.excepthook\ndef hook(args): old(args); old(args)",
    "is the original": "hook = getattr(threading, '__excepthook__', threading.excepthook)",
    "raises": "def hook(args): raise KeyError('in hook')",
}


class MainThread(ProgramTest):
    def test_every_replacement(self) -> None:
        for name, hook in HOOKS.items():
            with self.subTest(name):
                (report,) = self.check_reports(MAIN % hook, "exception")
                self.assertIn("ValueError: boom\n", report.body)

    def test_body_is_what_the_default_hook_would_print(self) -> None:
        source = "import sys\nif sys.argv[1:]: sys.excepthook = lambda *a: None\n1/0"
        script = self.write("app.py", source)
        plain = self.check_exception([script])
        (report,) = self.check_reports([script, "x"], "exception")
        self.assertEqual(report.body, plain.body)

    @unittest.skipUnless(BACKPORT, "needs exceptiongroup, on 3.9 or 3.10")
    def test_backport_of_exception_groups(self) -> None:
        program = "import exceptiongroup as e\nraise e.ExceptionGroup('two', [KeyError('inner')])"
        result = self.run_both(program)
        (report,) = result.reports
        self.assertEqual(report.body.encode(), result.stderr)
        self.assertIn("KeyError: 'inner'", report.body)

    def test_deleted(self) -> None:
        (report,) = self.check_reports("import sys\ndel sys.excepthook\n1/0", "exception")
        self.assertIn("ZeroDivisionError", report.body)

    def test_both_names_replaced(self) -> None:
        self.check_reports(
            "import sys\nsys.excepthook = sys.__excepthook__ = lambda *a: print(a[0])\n1/0",
            "exception",
        )

    def test_module_and_syntax_error(self) -> None:
        self.write("sitecustomize.py", "import sys\nsys.excepthook = lambda *a: print('apport')")
        self.write("broken.py", "def f(:\n")
        env = self.apport()
        script = self.write("app.py", "def f(:\n")
        self.check_reports([script], "exception", env=env)
        self.check_reports(["-c", "import broken"], "exception", env=env, cwd=self.folder)
        self.check_reports(["-m", "broken"], "exception", env=env, cwd=self.folder)

    def apport(self) -> dict[str, str]:
        """Return a sitecustomize that replaces the hook after every .pth line has run."""
        ours = [] if INSTALLED else [str(SITECUSTOMIZE)]
        return {"PYTHONPATH": ":".join([*ours, str(self.folder)])}

    def test_replaced_by_a_sitecustomize(self) -> None:
        self.write("sitecustomize.py", "import sys\nsys.excepthook = lambda *a: print('apport')")
        (report,) = self.check_reports("1/0", "exception", env=self.apport())
        self.assertIn("ZeroDivisionError", report.body)

    def test_exit_handlers_run_before_and_see_the_same(self) -> None:
        hook = "import atexit; atexit.register(print, 'bye')\ndef hook(*a): print(a[0].__name__)"
        self.check_reports(MAIN % hook, "exception")

    def test_modules_of_the_program_with_names_of_the_library(self) -> None:
        self.write("traceback.py", "print('the program has its own')")
        self.write("token.py", "print('this too')")
        source = "import sys\nsys.excepthook = lambda *args: print(len(sys.path))\n1/0"
        (report,) = self.check_reports([self.write("app.py", source)], "exception")
        self.assertIn("    1/0\n", report.body)

    def test_forked_child(self) -> None:
        program = """
            import os, sys
            sys.excepthook = lambda *args: None
            pid = os.fork()
            if pid == 0:
                raise ValueError('in child')
            print(os.waitpid(pid, 0)[1])
            """
        self.check_reports(program, "exception")


class Thread(ProgramTest):
    def test_every_replacement(self) -> None:
        for name, hook in THREAD_HOOKS.items():
            with self.subTest(name):
                source = hook + "\nthreading.excepthook = hook"
                (report,) = self.check_reports(THREAD % source, "thread")
                self.assertIn("ValueError: boom\n", report.body)
                self.assertTrue(report.body.startswith("Exception in thread t:\n"), report.body)

    def test_replaced_after_the_first_thread(self) -> None:
        source = "threading.Thread(target=print).start()\nthreading.excepthook = lambda args: None"
        self.check_reports(THREAD % source, "thread")

    def test_thread_that_was_made_before(self) -> None:
        for hook in ("lambda args: None", "None"):
            with self.subTest(hook):
                program = """
                    import threading
                    t = threading.Thread(target=lambda: 1/0)
                    threading.excepthook = %s
                    t.start()
                    t.join()
                    """
                self.check_reports(program % hook, "thread")

    def test_hook_that_ends_the_process(self) -> None:
        source = "import os; threading.excepthook = lambda args: os._exit(9)"
        (report,) = self.check_reports(THREAD % source, "thread")
        self.assertIn("ValueError: boom\n", report.body)

    def test_hooks_look_untouched(self) -> None:
        self.check_silent(
            """
            import sys, threading
            print(sys.excepthook is sys.__excepthook__)
            print(sys.unraisablehook is sys.__unraisablehook__)
            genuine = getattr(threading, '__excepthook__', threading.excepthook)
            print(threading.excepthook is genuine)
            print(type(threading.__spec__.loader), type(threading.__loader__))
            print([name for name in vars(threading.Thread(name='t')) if 'hook' in name])
            """
        )


class NotCrashes(ProgramTest):
    """Programs that store an exception in sys for debuggers."""

    def test_debuggers_and_shells(self) -> None:
        programs = (
            "import code; c = code.InteractiveConsole(); c.push('1/0'); c.push('def f(:')",
            "import code, sys; sys.excepthook = lambda *a: None\n"
            "c = code.InteractiveConsole(); c.push('1/0')",
            """
            import sys
            def run():
                try: 1/0
                except ZeroDivisionError:
                    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
                    sys.last_exc = sys.last_value
            run()
            """,
        )
        for program in programs:
            with self.subTest(program):
                self.check_silent(program)

    def test_stored_in_a_thread(self) -> None:
        self.check_silent(
            """
            import sys, threading
            def work():
                try: 1/0
                except ZeroDivisionError as error:
                    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
                    sys.last_exc = error
            t = threading.Thread(target=work)
            t.start()
            t.join()
            """
        )
