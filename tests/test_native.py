"""Signals whose default action dumps core: faulthandler's text on the crash output."""

from __future__ import annotations

import os
import signal

from tests.driver import OUTPUTS, PYPY, CrashOutput, ProgramTest, environment, started, wait_until

KILL_SELF = "import os\ndef culprit():\n    os.kill(os.getpid(), %d)\nculprit()"
FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
CORE = (signal.SIGQUIT, signal.SIGSYS, signal.SIGTRAP, signal.SIGXCPU)


class FatalSignals(ProgramTest):
    def test_main_thread(self) -> None:
        for signum in FATAL:
            with self.subTest(signum.name):
                result = self.check_dump(KILL_SELF % signum, signum)
                self.assertIn("Fatal Python error: ", result.dump)
                self.assertIn(" in culprit", result.dump)

    def test_other_thread(self) -> None:
        program = """
            import signal, threading
            def culprit(): signal.raise_signal(signal.SIGSEGV)
            threading.Thread(target=culprit).start()
            """
        self.assertIn("in culprit", self.check_dump(program, signal.SIGSEGV).dump)

    def test_abort(self) -> None:
        self.check_dump("import os; os.abort()", signal.SIGABRT)

    def test_null_pointer(self) -> None:
        if PYPY:  # whose ctypes does not read there
            program = "import faulthandler; faulthandler._read_null()"
        else:  # 3.15 has no such function
            program = "import ctypes; ctypes.string_at(0)"
        self.check_dump(program, signal.SIGSEGV)

    def test_c_stack_overflow(self) -> None:
        # A C stack overflow: faulthandler's test function recurses in C.
        program = "import faulthandler; faulthandler._stack_overflow()"
        self.check_dump(program, signal.SIGSEGV)

    def test_every_kind_of_crash_output(self) -> None:
        for output in OUTPUTS:
            if output == "socket" and not hasattr(os, "posix_spawn"):
                continue  # no relay
            with self.subTest(output):
                self.check_dump(KILL_SELF % signal.SIGSEGV, signal.SIGSEGV, output=output)

    def test_after_a_report(self) -> None:
        program = "import threading as t\nt = t.Thread(target=lambda: 1/0)\nt.start()\nt.join()\n"
        result = self.run_both(program + KILL_SELF % signal.SIGSEGV)
        self.assertEqual([r.kind for r in result.reports], ["thread"])
        self.assertIn("Fatal Python error: Segmentation fault", result.dump)


class CoreSignals(ProgramTest):
    def test_from_outside(self) -> None:
        program = """
            import sys
            def culprit():
                print('ready', flush=True)
                sys.stdin.read()
            culprit()
            """
        for signum in CORE:
            with self.subTest(signum.name):
                crash = CrashOutput("pipe")
                env = environment(PYDEBUG="crashfd=%d" % crash.passed)
                with started(program, env=env, pass_fds=[crash.passed]) as process:
                    assert process.stdout is not None and process.stderr is not None
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                    process.send_signal(signum)
                    self.assertEqual(process.wait(), -signum)
                    self.assertEqual(process.stderr.read(), b"")
                self.assertIn(b"in culprit", crash.finish())

    def test_a_handler_of_the_program_has_the_signal(self) -> None:
        program = "import os, signal\nsignal.signal(%d, lambda *a: print('mine'))\n" + KILL_SELF
        for signum in CORE:
            with self.subTest(signum.name):
                self.check_silent(program % (signum, signum))

    def test_ignored_when_the_parent_ignores_it(self) -> None:
        # as nohup does
        for signum in CORE:
            with self.subTest(signum.name):
                self.check_silent(
                    KILL_SELF % signum,
                    preexec_fn=lambda s=signum: signal.signal(s, signal.SIG_IGN),
                )

    def test_signals_look_untouched_to_the_program(self) -> None:
        self.check_silent("import signal; print([signal.getsignal(s) for s in (3, 5, 24, 31, 11)])")


class DumpOnRequest(ProgramTest):
    def test_writes_every_stack_and_the_program_goes_on(self) -> None:
        program = """
            import signal, sys, threading
            ready, done = threading.Event(), threading.Event()
            def waiting():
                ready.set()
                done.wait()
            t = threading.Thread(target=waiting)
            t.start()
            ready.wait()
            print('ready', flush=True)
            sys.stdin.readline()
            done.set()
            """
        for name in ("USR2", "QUIT"):
            with self.subTest(name):
                self.check_dump_on_request(program, name)

    def check_dump_on_request(self, program: str, name: str) -> None:
        crash = CrashOutput("pipe")
        env = environment(PYDEBUG="crashfd=%d,crashsignal=%s" % (crash.passed, name))
        with started(program, env=env, pass_fds=[crash.passed]) as process:
            assert process.stdout is not None and process.stdin is not None
            self.assertEqual(process.stdout.readline(), b"ready\n")
            os.kill(process.pid, getattr(signal, "SIG" + name))
            wait_until(lambda: b"in waiting" in crash.so_far())
            os.kill(process.pid, getattr(signal, "SIG" + name))
            wait_until(lambda: crash.so_far().count(b"in waiting") == 2)
            process.stdin.write(b"\n")
            process.stdin.flush()
            self.assertEqual(process.wait(), 0)
        crash.finish()
