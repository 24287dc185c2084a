"""A child made by os.fork reports as itself."""

from __future__ import annotations

from tests.driver import ProgramTest

FORK = """
import os, sys
def child():
    {child}
pid = os.fork()
if pid == 0:
    child()
else:
    status = os.waitpid(pid, 0)[1]
    print(os.WIFSIGNALED(status), os.WTERMSIG(status) or os.WEXITSTATUS(status))
"""


class Fork(ProgramTest):
    def test_exception_in_the_child(self) -> None:
        result = self.run_both(FORK.format(child="raise ValueError('in child')"))
        (report,) = result.reports
        self.assertEqual(result.stdout, b"False 1\n")
        self.assertEqual(report.kind, "exception")
        self.assertEqual(report.body.encode(), result.stderr)

    def test_child_and_parent(self) -> None:
        program = FORK.format(child="raise ValueError('in child')") + "    1/0\n"
        first, second = self.check_reports(program, "exception", "exception")
        self.assertNotEqual(first.fields["pid"], second.fields["pid"])

    def test_signal_in_the_child(self) -> None:
        result = self.run_both(FORK.format(child="os.kill(os.getpid(), 11)"))
        self.assertEqual(result.stdout, b"True 11\n")
        self.assertIn("Fatal Python error: Segmentation fault", result.dump)

    def test_child_that_ends_well(self) -> None:
        self.check_silent(FORK.format(child="os._exit(3)"))
        self.check_silent(FORK.format(child="sys.exit(3)"))

    def test_thread_in_the_child(self) -> None:
        child = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
        self.check_reports(FORK.format(child=child), "thread")

    def test_fork_while_other_threads_are_reporting(self) -> None:
        # The threads print nothing to stderr, and the first one imports what printing
        # needs: otherwise the child may find the interpreter's own locks held for ever.
        program = """
            import os, threading
            threading.excepthook = lambda args: None
            stop = threading.Event()
            def crash():
                raise ValueError('in thread')
            def crash_once():
                t = threading.Thread(target=crash)
                t.start()
                t.join()
            def crash_on():
                while not stop.is_set():
                    crash_once()
            crash_once()
            threads = [threading.Thread(target=crash_on) for _ in range(4)]
            for t in threads: t.start()
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    raise ValueError('in child')
                os.waitpid(pid, 0)
            stop.set()
            for t in threads: t.join()
            """
        result = self.run_with(program)
        kinds = [r.kind for r in result.reports]
        self.assertEqual(kinds.count("exception"), 20, str(result)[-3000:])
