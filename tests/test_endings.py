"""Crashes at awkward moments: the program ends as without crashenv."""

from __future__ import annotations

import os
import shutil
import signal
import unittest

from tests.driver import ROOT, CrashOutput, WatchedTest, environment, run, split


class Moments(WatchedTest):
    def test_in_a_signal_handler(self) -> None:
        self.check_exception("""
            import os, signal
            def handler(*args): raise ValueError('in the handler')
            signal.signal(signal.SIGUSR1, handler)
            os.kill(os.getpid(), signal.SIGUSR1)
            """)

    def test_while_an_exception_is_handled(self) -> None:
        self.check_exception("try: 1/0\nexcept ZeroDivisionError: raise KeyError from None")
        self.check_exception("try: 1/0\nfinally: {}['x']")

    def test_in_a_thread_after_the_main_thread_crashed(self) -> None:
        reports = self.check_reports(
            "import threading, time\n"
            "main = threading.main_thread()\n"
            "def work():\n"
            "    while main.is_alive(): time.sleep(0.01)\n"  # PyPy's join() races with the exit
            "    raise ValueError('late')\n"
            "threading.Thread(target=work).start()\n"
            "raise KeyError('early')",
            "exception",
            "thread",
        )
        self.assertIn("late", reports[1].body)

    def test_in_finalizers_at_shutdown_is_no_crash(self) -> None:
        self.check_silent("""
            import weakref
            class C:
                def __del__(self): raise ValueError('del')
            kept = C()
            weakref.finalize(kept, lambda: 1/0)
            """)

    def test_daemon_threads_at_shutdown(self) -> None:
        # They die wherever they are, some of them in the middle of a report.
        program = """
            import sys, threading
            sys.stderr = None
            started = threading.Semaphore(0)
            def work():
                started.release()
                raise ValueError('x' * 500_000)
            for _ in range(20): threading.Thread(target=work, daemon=True).start()
            for _ in range(20): started.acquire()
            """
        for _ in range(5):
            self.assertEqual(self.run_with(program).status, 0)

    def test_in_a_fork_while_another_thread_holds_every_lock(self) -> None:
        # The pipe is full: the thread holds the locks until its timeout.
        program = """
            import os, select, sys, threading
            sys.stderr = open(os.devnull, 'w')  # without one, PyPy prints to stdout
            threading.Thread(target=lambda: {}['x' * 900_000]).start()
            while select.select([], [%d], [], 0)[1]: pass
            pid = os.fork()
            if pid == 0: raise ValueError('in the child')
            print(os.waitpid(pid, 0)[1])
            """
        reader, writer = os.pipe()
        env = environment(PYDEBUG="crashfd=%d,crashtimeout=1" % writer)
        result = run(program % writer, env=env, pass_fds=[writer])
        os.close(writer)
        os.close(reader)
        self.assertEqual((result.status, result.stdout), (0, b"256\n"), str(result))

    def test_storm_of_signals(self) -> None:
        # Each interrupts what is waiting for the slow reader (EINTR, PEP 475).
        program = """
            import atexit, signal
            caught = []
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, lambda *args: caught.append(1))
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            raise ValueError('x' * 900_000)
            """
        crash = CrashOutput.slow("pipe")
        env = environment(PYDEBUG="crashfd=%d,crashtimeout=60" % crash.passed)
        result = run(program, env=env, pass_fds=[crash.passed])
        (report,) = split(crash.finish())[0]
        self.assertEqual((result.status, result.stderr), (1, report.body.encode()))


class InstallationGone(WatchedTest):
    def test_deleted_while_the_program_runs(self) -> None:
        for folder in ("src", "sitecustomize"):
            shutil.copytree(ROOT / folder, self.folder / "copy" / folder)
        copy = self.folder / "copy"
        env = {"PYTHONPATH": str(copy / "sitecustomize")}
        program = "import shutil; shutil.rmtree(%r); 1/0" % str(copy)
        result = self.run_with(program, env=env)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
        self.assertFalse(copy.exists())


@unittest.skipUnless(hasattr(signal, "pthread_sigmask"), "needs pthread_sigmask")
class Signals(WatchedTest):
    def test_mask_and_pending_signals_are_as_before(self) -> None:
        self.check_reports(
            "import signal, threading\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE, signal.SIGUSR1})\n"
            "signal.raise_signal(signal.SIGPIPE)\n"
            "def crash(): 1/0\n"
            "t = threading.Thread(target=crash); t.start(); t.join()\n"
            "print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))\n"
            "print(sorted(signal.sigpending()))\n",
            "thread",
        )
