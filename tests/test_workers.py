"""A multiprocessing worker: no hook of sys is called for its exception."""

from __future__ import annotations

import multiprocessing
import os
import unittest
from typing import Any

from tests.driver import OUTPUTS, PYPY, Report, Result, WatchedTest, wait_until

METHODS = multiprocessing.get_all_start_methods()
EXECUTOR_METHODS = ["fork"] if PYPY else METHODS  # 7.3.11 fails with the others
PROGRAM = """
import multiprocessing, os, sys, threading, _thread

def work():
    raise ValueError('in worker')

class Worker(multiprocessing.Process):
    def run(self):
        raise ValueError('in worker')

def nested():
    child = multiprocessing.get_context({method!r}).Process(target=work, name='inner')
    child.start()
    child.join()

def in_thread():
    t = threading.Thread(target=work)
    t.start()
    t.join()

def segfault(*args):
    os.kill(os.getpid(), 11)

def leave(how):
    how(3)

def out_of_descriptors():
    opened = []
    while True:
        opened.append(os.open('/dev/null', os.O_RDONLY))

def without_stderr(function, *args):
    sys.stderr = None
    function(*args)

if __name__ == '__main__':
    multiprocessing.set_start_method({method!r})
    {main}
"""


class Workers(WatchedTest):
    def run_main(self, main: str, method: str, **options: Any) -> Result:
        script = self.write("app.py", PROGRAM.format(method=method, main=main))
        return self.run_both([script], **options)

    def check_worker(self, process: str, *kinds: str, **options: Any) -> list[Report]:
        reports = []
        for method in METHODS:
            with self.subTest(method):
                main = "p = %s; p.start(); p.join(); print(p.exitcode)" % process
                result = self.run_main(main, method, **options)
                reports = result.reports
                self.assertEqual([r.kind for r in reports], list(kinds), str(result))
                for report in reports:
                    self.assertIn(report.body.encode(), result.stderr)
        return reports

    def test_exception(self) -> None:
        process = "multiprocessing.Process(target=work, name='w 1')"
        (report,) = self.check_worker(process, "process")
        self.assertTrue(report.body.startswith("Process w 1:\nTraceback "), report.body)
        self.assertTrue(report.body.endswith("ValueError: in worker\n"), report.body)

    def test_subclass(self) -> None:
        self.check_worker("Worker()", "process")

    def test_worker_of_a_worker(self) -> None:
        (report,) = self.check_worker("multiprocessing.Process(target=nested)", "process")
        self.assertTrue(report.body.startswith("Process inner:\n"), report.body)

    def test_thread_of_a_worker(self) -> None:
        self.check_worker("multiprocessing.Process(target=in_thread)", "thread")

    def test_exception_that_it_cannot_print(self) -> None:
        program = "multiprocessing.Process(target=%s, args=(%s), name='w')"
        for target, args, kind in (
            ("without_stderr", "work,", "ValueError"),
            ("out_of_descriptors", "", "OSError"),  # cannot import traceback
        ):
            for method in METHODS:
                with self.subTest(target=target, method=method):
                    main = "p = %s; p.start(); p.join(); print(p.exitcode)"
                    result = self.run_main(main % (program % (target, args)), method)
                    self.assertEqual([r.kind for r in result.reports], ["process"], str(result))
                    (report,) = result.reports
                    self.assertEqual(report.fields["process"], "w")
                    self.assertTrue(report.body.startswith("Process w:\nTraceback"), report.body)
                    self.assertIn("\n%s: " % kind, report.body)

    def test_exit_that_it_cannot_print(self) -> None:
        for method in METHODS:
            main = "p = multiprocessing.Process(target=without_stderr, args=(sys.exit, 'bye'))"
            with self.subTest(method):
                result = self.run_main(main + "; p.start(); p.join()", method)
                self.assertNotIn("process", [r.kind for r in result.reports], str(result))

    def test_every_kind_of_crash_output(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                self.check_worker("Worker()", "process", output=output)

    def test_crashfile(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                path = self.folder / (method + ".log")
                main = "p = Worker(); p.start(); p.join()"
                self.run_main(main, method, pydebug="crashfile=%s" % path)
                self.assertIn("kind=process", path.read_text())

    def test_crashfile_of_each_process(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                pattern = str(self.folder / (method + ".%p.log"))
                main = "p = Worker(); p.start(); p.join(); print(p.pid)"
                script = self.write("app.py", PROGRAM.format(method=method, main=main))
                result = self.run_with([script], pydebug="crashfile=" + pattern)
                name = "%s.%s.log" % (method, result.stdout.decode().strip())

                self.wait_for_files(method, [name])

    def wait_for_files(self, method: str, names: list[str]) -> None:
        # The forkserver ends, and removes its file, a moment after the program.
        wait_until(lambda: [p.name for p in self.folder.glob(method + ".*")] == names, str(names))

    def test_signal(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                main = "p = multiprocessing.Process(target=segfault); p.start(); p.join()"
                main += "; print(p.exitcode)"
                result = self.run_main(main, method)
                self.assertEqual(result.stdout, b"-11\n")
                self.assertIn(" in segfault\n", result.dump)

    def test_executor_worker_that_dies_of_a_signal(self) -> None:
        for method in EXECUTOR_METHODS:
            with self.subTest(method):
                main = (
                    "import concurrent.futures as f\n"
                    "    with f.ProcessPoolExecutor(1) as pool:\n"
                    "        try: list(pool.map(segfault, [1]))\n"
                    "        except f.process.BrokenProcessPool: print('broken')"
                )
                result = self.run_main(main, method)
                self.assertEqual(result.stdout, b"broken\n", str(result))
                self.assertIn(" in segfault\n", result.dump)

    def test_handed_back_exceptions_are_handled(self) -> None:
        pool = (
            "with multiprocessing.Pool(1) as pool:\n"
            "        try: pool.map(int, ['x'])\n"
            "        except ValueError: print('handled')\n"
            "        pool.close(); pool.join()"
        )
        executor = (
            "import concurrent.futures as f\n"
            "    with f.ProcessPoolExecutor(1) as pool:\n"
            "        try: list(pool.map(int, ['x']))\n"
            "        except ValueError: print('handled')"
        )
        for main, methods in ((pool, METHODS), (executor, EXECUTOR_METHODS)):
            for method in methods:
                with self.subTest(method=method, main=main):
                    result = self.run_main(main, method)
                    self.assertEqual(result.stdout, b"handled\n")
                    self.assertEqual(result.crash, b"")

    def test_exits_are_no_crashes(self) -> None:
        for method in METHODS:
            for how in ("sys.exit", "os._exit"):
                with self.subTest(method=method, how=how):
                    main = "p = multiprocessing.Process(target=leave, args=(%s,))" % how
                    result = self.run_main(main + "; p.start(); p.join()", method)
                    self.assertEqual(result.crash, b"", str(result))

    def test_reader_sees_the_end_when_program_and_workers_are_gone(self) -> None:
        # The resource tracker, which a semaphore starts, runs a little longer.
        main = (
            "lock = multiprocessing.Semaphore()\n"
            "    p = Worker(); p.start(); p.join()\n"
            "    os._exit(0)"
        )
        for method in METHODS:
            with self.subTest(method):
                script = self.write("app.py", PROGRAM.format(method=method, main=main))
                result = self.run_with([script])  # the driver waits for the end
                self.assertEqual([r.kind for r in result.reports], ["process"], str(result))

    def test_a_program_without_multiprocessing_does_not_load_it(self) -> None:
        program = "import sys; print(sorted(m for m in sys.modules if 'multiprocessing' in m))"
        self.assertEqual(self.check_silent(program).stdout, b"[]\n")

    def test_search_without_an_import(self) -> None:
        """modulefinder and pyclbr search the folder of a package that nobody has imported."""
        folder = os.path.dirname(multiprocessing.__file__)
        program = """
            import json, importlib.machinery, pyclbr
            print(importlib.machinery.PathFinder.find_spec('pool', [%r]).origin)
            print(*pyclbr.readmodule('multiprocessing.pool'))
            1/0
            """
        for directory in (folder, None):
            self.check_reports(program % folder, "exception", cwd=directory)

    @unittest.skipUnless("fork" in METHODS, "needs fork")
    def test_emptied_cache_of_finders(self) -> None:
        program = """
            import sys
            sys.path_importer_cache.clear()
            import multiprocessing
            def work(): raise ValueError
            worker = multiprocessing.get_context("fork").Process(target=work)
            worker.start()
            worker.join()
            """
        self.check_reports(program, "process")

    def test_process_class_looks_untouched(self) -> None:
        self.check_silent(
            """
            import multiprocessing
            p = multiprocessing.Process(name='n')
            p.name = 'other'
            print(p.name, multiprocessing.current_process().name)
            """
        )
