"""The code for a crash uses only its own objects, and is not noticed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import sys
import unittest

from tests.driver import PYPY, ROOT, ProgramTest, environment, importable, run

THREAD = """
def crash():
    def work(): raise ValueError('boom')
    t = threading.Thread(target=work)
    t.start()
    t.join()
"""
IMPORTS = "import marshal, os, signal, sys, threading, time, traceback\nfrom unittest import mock\n"
MOCKED = (
    *("os.write", "os.fstat", "os.lockf", "os.getpid", "os.close", "os.open", "os.stat"),
    *("time.monotonic", "time.sleep", "time.time_ns", "time.time", "time.gmtime"),
    *("marshal.loads", "signal.pthread_sigmask", "os.lseek", "builtins.open", "select.poll"),
    *("_thread.get_ident", "_thread.allocate_lock", "traceback.TracebackException"),
)
EVENTS = (
    *("open", "exec", "import", "marshal.loads", "sys._getframe", "os.lockf"),
    *("object.__getattr__", "sys._current_frames", "compile", "code.__new__"),
)
AUDIT = """
import sys, threading
%s
def hook(event, args):
    if on and (event == %r or %r == 'all'): raise RuntimeError('forbidden')
on = False
sys.addaudithook(hook)
on = True
crash()
raise KeyError('boom in main')
"""

# Nothing of what is held has been executed when the hook comes.
EARLY_AUDIT = """
import _thread, faulthandler, os, sys, time
def hook(event, args):
    if event in %r: raise RuntimeError('forbidden')
def crash():
    done.append(1)
    raise ValueError('boom in raw thread')
done = []
sys.addaudithook(hook)
_thread.start_new_thread(crash, ())
while not done or _thread._count(): time.sleep(0.001)
print(faulthandler.enable(), faulthandler.is_enabled())
raise KeyError('boom in main')
"""


DISPLACE = "sys.excepthook = lambda *args: print('mine')"


def needs_start_without_threading(test: unittest.TestCase) -> None:
    if b"threading" in run("import sys; print(*sys.modules)").stdout.split():
        test.skipTest("needs a start without threading, which a .pth file imports here")


class Replaced(ProgramTest):
    """Functions that a program replaces are not the ones that we use."""

    def test_mocked_functions(self) -> None:
        for name in MOCKED:
            with self.subTest(name):
                program = (
                    IMPORTS
                    + THREAD
                    + "import select, _thread\nwith mock.patch(%r): crash()\nprint('go on')" % name
                )
                if name.startswith(("_thread", "traceback")):
                    program = program.replace("crash()\nprint", "pass\ncrash()\nprint")
                result = self.run_both(program)
                self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))
                self.assertIn("boom", result.reports[0].body)

    def test_stopped_clock_and_nobody_reads(self) -> None:
        program = (
            "import time\nfrom unittest import mock\n"
            "mock.patch('time.monotonic', return_value=5.0).start()\n1/0"
        )
        self.check_exception(program)

    def test_audit_hooks_that_raise(self) -> None:
        for event in EVENTS:
            with self.subTest(event):
                result = self.run_both(AUDIT % (THREAD, event, event))
                bodies = [report.body for report in result.reports]
                self.assertTrue(any("KeyError" in body for body in bodies), str(result))

    def test_audit_hooks_that_raise_from_the_start(self) -> None:
        for events in (("exec",), ("marshal.loads",), ("exec", "import", "open")):
            with self.subTest(events):
                result = self.run_both(EARLY_AUDIT % (events,))
                bodies = [report.body for report in result.reports]
                self.assertEqual(len(bodies), 2, str(result))
                self.assertIn("boom in raw thread", bodies[0])
                self.assertIn("KeyError", bodies[1])

    @unittest.skipIf(PYPY, "PyPy ignores the __builtins__ of a namespace")
    def test_builtins(self) -> None:
        for name in ("getattr", "str", "type", "len", "range", "hasattr", "min"):
            for line in ("1/0", DISPLACE + "\n1/0"):
                with self.subTest(name=name, line=line):
                    source = "import builtins, sys\nbuiltins.%s = None\n%s" % (name, line)
                    (report,) = self.check_reports(source, "exception")
                    self.assertIn("Traceback", report.body)

    def test_traceback_stored_by_the_program(self) -> None:
        """It takes the place of what tells that an exception leaves the main thread."""
        for store in (
            "sys.last_traceback = None",
            "import code; code.InteractiveInterpreter().runsource('1/0')",
        ):
            for lines in ((store, DISPLACE), (DISPLACE, store)):
                with self.subTest(lines):
                    source = "\n".join(["import sys", *lines, "raise KeyError('x')"])
                    self.check_reports(source, "exception")

    def test_code_of_the_hooks_is_interrupted(self) -> None:
        """As by Ctrl-C, which an audit hook does here at the right moment."""
        needs_start_without_threading(self)
        program = """
            import sys
            def hook(event, args):
                if event == 'exec' and args[0].co_filename.endswith('_hooks.py'):
                    raise KeyboardInterrupt
            sys.addaudithook(hook)
            try: import threading
            except KeyboardInterrupt: print('interrupted')
            """
        self.assertEqual(self.run_with(program).stdout, b"interrupted\n")

    def test_search_for_a_module_is_forbidden(self) -> None:
        program = """
            import sys
            def hook(event, args):
                if event == 'exec' and 'multiprocessing/__init__' not in args[0].co_filename:
                    raise RuntimeError
            sys.addaudithook(hook)
            try: import multiprocessing
            except Exception as error: print(type(error))
            1/0
            """
        result = self.run_both(program)
        self.assertIn(b"RuntimeError", result.stdout)
        self.assertEqual(len(result.reports), 1, str(result))

    def test_forbidden_imports(self) -> None:
        for guard in (
            "import builtins\ndef no(name, *a, **k): raise ImportError(name)\n"
            "builtins.__import__ = no\n",
            "import sys\nsys.meta_path[:] = []\n",
            "import builtins\nbuiltins.len = builtins.getattr = builtins.range = None\n",
        ):
            with self.subTest(guard):
                result = self.run_both(guard + "raise ValueError('boom')")
                (report,) = result.reports
                self.assertIn("boom", report.body)

    def test_imports_by_the_program(self) -> None:
        """The interpreter's hooks print source lines with the program's ``__import__``."""
        for replaced in ("print('import', name); return usual(name, *a, **k)", "1/0"):
            for ending in (
                "raise ValueError('boom')",
                "_thread.start_new_thread(broken.__del__, ())\n"
                "lock.acquire()\n"
                "while _thread._count(): time.sleep(0.01)",
                "del broken; raise ValueError('boom')",
            ):
                with self.subTest(ending, replaced=replaced):
                    path = self.write(
                        "app.py",
                        "import _thread, builtins, time\n"
                        "class Broken:\n"
                        "    def __del__(self): lock.release(); raise KeyError('x')\n"
                        "broken, lock = Broken(), _thread.allocate_lock()\n"
                        "lock.acquire()\n"
                        "usual = builtins.__import__\n"
                        "def replaced(name, *a, **k): %s\n"
                        "builtins.__import__ = replaced\n"
                        "%s\n" % (replaced, ending),
                    )
                    self.assertEqual(len(self.run_both([path]).reports), 1)

    def test_getattr_of_the_main_module(self) -> None:
        self.check_reports(
            "def __getattr__(name): print(name); raise KeyError(name)\nraise ValueError('boom')",
            "exception",
        )


class Threads(ProgramTest):
    def check_thread(self, before: str) -> None:
        for threads, status in (("report", 0), ("fatal", 1)):
            with self.subTest(before, threads=threads):
                program = before + "\nimport threading" + THREAD + "crash()"
                result = self.run_with(program, "crashthreads=" + threads)
                self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))
                self.assertEqual(result.status, status)
                self.assertIn(b"ValueError: boom", result.stderr)

    def test_subclass_in_place_of_thread(self) -> None:
        self.check_thread(
            "import threading\nclass Thread(threading.Thread): pass\nthreading.Thread = Thread"
        )

    def test_threading_loaded_again(self) -> None:
        self.check_thread("import sys, threading\ndel sys.modules['threading']")
        self.check_thread("import importlib, threading\nimportlib.reload(threading)")

    def test_threading_loaded_beside_itself(self) -> None:
        """As in eventlet: a copy with another name, and with its own ``_thread``."""
        self.check_thread(
            "import _thread, importlib.util, sys, threading, types\n"
            "other = types.ModuleType('_thread')\n"
            "other.__dict__.update(vars(_thread))\n"
            "for name in {'_set_sentinel', '_get_main_thread_ident'} & other.__dict__.keys():\n"
            "    vars(other)[name] = lambda f=vars(other)[name]: f()\n"
            "sys.modules['_thread'] = other\n"
            "spec = importlib.util.find_spec('threading')\n"
            "spec = importlib.util.spec_from_file_location('green', spec.origin)\n"
            "sys.modules['threading'] = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(sys.modules['threading'])\n"
        )

    def test_stack_of_a_replaced_hook_shows_nothing_of_ours(self) -> None:
        hook = (
            "import threading, traceback\nthreading.excepthook = lambda a: traceback.print_stack()"
        )
        result = self.run_both(hook + THREAD + "crash()")
        self.assertNotIn(b"crashenv/_", result.stderr)
        self.assertEqual([r.kind for r in result.reports], ["thread"])


needs_counting = unittest.skipIf(PYPY, "needs reference counting")


class Displaced(ProgramTest):
    """The report is written when the main thread has died, whatever follows."""

    @needs_counting
    def test_hook_that_ends_the_process(self) -> None:
        for end in ("os._exit(3)", "os.kill(os.getpid(), 9)", "os.execv('/bin/true', ['true'])"):
            with self.subTest(end):
                program = "import os, sys\nsys.excepthook = lambda *a: %s\n1/0" % end
                (report,) = self.run_both(program).reports
                self.assertIn("ZeroDivisionError", report.body)

    @needs_counting
    def test_exit_handler_that_ends_the_process(self) -> None:
        program = (
            "import atexit, os, sys\natexit.register(os._exit, 1)\n"
            "sys.excepthook = lambda *a: None\n1/0"
        )
        self.check_reports(program, "exception")

    @needs_counting
    def test_another_thread_lives_on(self) -> None:
        program = """
            import os, signal, sys, threading, time
            sys.excepthook = lambda *a: None
            main = threading.main_thread()
            def end():
                while main.is_alive(): time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGTERM)
            threading.Thread(target=end).start()
            1/0
            """
        result = self.run_both(program)
        self.assertEqual(result.status, -signal.SIGTERM)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))

    def test_syntax_error_in_a_command(self) -> None:
        self.write("sitecustomize.py", "import sys\nsys.excepthook = lambda *a: print('mine')")
        from tests.driver import INSTALLED, SITECUSTOMIZE

        ours = [] if INSTALLED else [str(SITECUSTOMIZE)]
        env = {"PYTHONPATH": os.pathsep.join([*ours, str(self.folder)])}
        script = self.write("broken.py", "def f(:\n")
        self.check_reports("def f(:", "exception", env=env)
        self.check_reports(["broken.py"], "exception", env=env, cwd=self.folder)
        self.check_reports([script], "exception", env=env)

    def test_program_is_a_path(self) -> None:
        self.write("app.py", "import sys\nsys.excepthook = lambda *a: None\n1/0")
        (report,) = self.check_reports(["app.py"], "exception", cwd=self.folder)
        self.assertEqual(report.fields["program"], str(self.folder / "app.py"))

    @unittest.skipIf(PYPY, "needs the C API")
    def test_exception_of_c_code_that_goes_on(self) -> None:
        program = (
            "import ctypes, sys\n"
            "try: 1/0\n"
            "except ZeroDivisionError as error:\n"
            "    ctypes.pythonapi.PyErr_SetObject.argtypes = [ctypes.py_object] * 2\n"
            "    sys.last_type, sys.last_value = type(error), error\n"
            "    sys.last_traceback = error.__traceback__\n"
            "    sys.excepthook(type(error), error, error.__traceback__)\n"
            "print('go on')"
        )
        self.check_silent(program)


class NotCrashes(ProgramTest):
    @unittest.skipIf(sys.version_info < (3, 11), "needs BaseExceptionGroup")
    def test_group_of_exits(self) -> None:
        for inner in (
            "KeyboardInterrupt()",
            "SystemExit(3)",
            "BaseExceptionGroup('b', [SystemExit()])",
        ):
            program = "raise BaseExceptionGroup('a', [KeyboardInterrupt(), %s])" % inner
            with self.subTest(inner):
                self.check_silent(program)
                thread = "import threading\ndef f(): %s\nt = threading.Thread(target=f)" % program
                self.check_silent(thread + "\nt.start()\nt.join()")
        self.check_reports(
            "raise BaseExceptionGroup('a', [SystemExit(), ValueError()])", "exception"
        )


WORKERS = """
    import multiprocessing, os, sys
    def work(): raise ValueError('worker')
    if __name__ == '__main__':
        for method in sys.argv[1:]:
            p = multiprocessing.get_context(method).Process(target=work)
            p.start()
            p.join()
    """


class Workers(ProgramTest):
    SOURCE = """
        import logging, multiprocessing, multiprocessing.process as process, traceback
        before = process.BaseProcess._bootstrap
        def wrapped(self, *args, **kwargs): return before(self, *args, **kwargs)
        if %r: process.BaseProcess._bootstrap = wrapped
        def work():
            traceback.print_stack()
            logging.warning('slow', stack_info=True)
            try: raise KeyError('handled')
            except KeyError: print(multiprocessing.current_process().name, flush=True)
            raise ValueError('worker')
        if __name__ == '__main__':
            p = multiprocessing.get_context(%r).Process(target=work)
            p.start()
            p.join()
        """

    def test_stack_is_the_same_and_wrapped_bootstrap_is_no_matter(self) -> None:
        for method in ("fork", "spawn", "forkserver"):
            for is_wrapped in (False, True):
                with self.subTest(method, wrapped=is_wrapped):
                    script = self.write("app.py", self.SOURCE % (is_wrapped, method))
                    # The command lines of spawned processes, which are on stderr, name descriptors.
                    run = self.run_both if method == "fork" else self.run_with
                    result = run([script])
                    self.assertNotIn(b"crashenv/_", result.stderr)
                    self.assertEqual([r.kind for r in result.reports], ["process"], str(result))
                    name = result.stdout.decode().strip()
                    self.assertEqual(result.reports[0].fields["process"], name)

    def test_copy_of_multiprocessing(self) -> None:
        """``multiprocess`` is such a copy, installed beside this package."""
        for name in ("crashenv", "multiprocessing"):
            package = importlib.util.find_spec(name) or importlib.machinery.PathFinder.find_spec(
                name, [str(ROOT / "src")]
            )
            assert package is not None and package.origin is not None
            new = "multiprocess" if name == "multiprocessing" else name
            shutil.copytree(os.path.dirname(package.origin), self.folder / new)
        for path in (self.folder / "multiprocess").glob("*.py"):
            path.write_text(re.sub(r"(?<!_)multiprocessing\b", "multiprocess", path.read_text()))
        self.write("sitecustomize.py", "import crashenv\ncrashenv._start()\n")
        program = WORKERS.replace("multiprocessing", "multiprocess")
        script = self.write("app.py", program)
        env = {"PYTHONPATH": str(self.folder)}
        result = self.run_with([script, "fork", "spawn"], env=env)
        self.assertEqual([r.kind for r in result.reports], ["process"] * 2, str(result))

    def test_worker_that_cannot_be_started(self) -> None:
        source = """
            import multiprocessing, resource
            if __name__ == '__main__':
                context = multiprocessing.get_context('spawn')
                resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))
                context.Process(target=print).start()
            """
        result = self.run_both([self.write("app.py", source)])
        self.assertNotIn(b"crashenv/_", result.stderr)
        self.assertEqual([report.kind for report in result.reports], ["exception"], str(result))


class Starts(ProgramTest):
    """The start finds something that it does not expect."""

    def test_removed_current_folder(self) -> None:
        script = 'mkdir gone && cd gone && rmdir "$PWD" && exec "$@"'
        launcher = ("/bin/sh", "-c", script, "sh")
        program = "import os; os.getcwd()"
        result = self.run_both(program, launcher=launcher, cwd=str(self.folder))
        (report,) = result.reports
        self.assertIn("FileNotFoundError", report.body)

    def test_multiprocessing_was_imported_before(self) -> None:
        start = (
            "import multiprocessing.process, multiprocessing.util, crashenv\ncrashenv._start()\n"
        )
        self.write("early/sitecustomize.py", start)
        path = os.pathsep.join([str(self.folder / "early"), *filter(None, [importable()])])
        script = self.write("app.py", WORKERS)
        result = self.run_with([script, "fork", "spawn"], env={"PYTHONPATH": path})
        self.assertEqual([r.kind for r in result.reports], ["process"] * 2, str(result))

    def test_multiprocessing_was_imported_before_set_crash_output(self) -> None:
        path = self.folder / "crashes"
        call = "open(%r, 'wb') as f: crashenv.set_crash_output(f)\n        for" % str(path)
        program = WORKERS.replace("sys\n", "sys, crashenv\n").replace("for", "with " + call)
        result = run(
            [self.write("app.py", program), "fork"], env=environment(PYTHONPATH=importable())
        )
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(path.read_bytes().count(b"kind=process"), 1, path.read_bytes())


class Descriptors(ProgramTest):
    def test_dump_after_closing_all_and_opening_a_thousand(self) -> None:
        program = """
            import os, resource, sys
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            os.closerange(3, 20000)
            files = [open(os.path.join(sys.argv[1], str(n)), 'w+b') for n in range(1010)]
            if not os.fork(): os.kill(os.getpid(), 11)
            os.wait()
            print([f.name for f in files if os.fstat(f.fileno()).st_size])
            """
        program = program.replace("            ", "")
        result = self.run_both(["-c", program, str(self.folder)])
        self.assertEqual(result.stdout, b"[]\n", str(result))
        kept = program.replace("os.closerange", "range")
        self.assertIn("Segmentation fault", self.run_both(["-c", kept, str(self.folder)]).dump)

    def test_forks_near_the_recursion_limit(self) -> None:
        """At the limit itself no function of ours can be called; the interpreter says so."""
        needs_start_without_threading(self)
        program = """
            import os, sys
            def fork(depth):
                if depth: return fork(depth - 1)
                if not os.fork(): os._exit(0)
                os.wait()
            sys.setrecursionlimit(300)
            try:
                for depth in range(270, 300): fork(depth)
            except RecursionError: print(depth)
            1/0
            """
        result = self.run_with(program)
        self.assertEqual(result.stdout, run(program).stdout)
        self.assertLessEqual(result.stderr.count(b"Exception ignored"), 1, str(result))
        self.assertEqual([report.kind for report in result.reports], ["exception"])

    def test_small_recursion_limits(self) -> None:
        for limit in (15, 20, 30, 45):
            with self.subTest(limit):
                program = "import sys\nsys.setrecursionlimit(%d)\nraise ValueError('boom')" % limit
                (report,) = self.run_both(program).reports
                self.assertIn("boom", report.body)


if __name__ == "__main__":
    unittest.main()
