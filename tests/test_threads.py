"""An exception that leaves another thread, and the effect of `crashthreads`."""

from __future__ import annotations

import textwrap

from tests.driver import CrashOutput, ProgramTest, environment, importable, run, split

THREAD = """
import threading
def work():
    raise ValueError('in thread')
thread = threading.Thread(target=work, name='worker 1')
thread.start()
thread.join()
print('still here', flush=True)
"""
# The thread has reported its exception when its native thread has gone.
RAW = """
import _thread, time
running = _thread.allocate_lock()
running.acquire()
def work():
    running.release()
    raise ValueError('in raw thread')
_thread.start_new_thread(work, ())
running.acquire()
while _thread._count(): time.sleep(0.01)
print('still here', flush=True)
"""


class Thread(ProgramTest):
    def check_thread(self, program: str, **options: str) -> None:
        (report,) = self.check_reports(program, "thread", **options)
        self.assertIn("ValueError: in thread\n", report.body)

    def test_body_is_what_stderr_shows(self) -> None:
        result = self.run_both(THREAD)
        (report,) = result.reports
        self.assertEqual(report.body.encode(), result.stderr)
        self.assertEqual(report.kind, "thread")
        self.assertEqual(report.fields["thread"], "worker 1")
        self.assertNotEqual(report.fields["tid"], report.fields["pid"])

    def test_subclass(self) -> None:
        self.check_thread(
            """
            import threading
            class Worker(threading.Thread):
                def run(self): raise ValueError('in thread')
            worker = Worker(name='w')
            worker.start()
            worker.join()
            """
        )

    def test_thread_without_init(self) -> None:
        self.check_silent(
            """
            import inspect, threading
            thread = threading.Thread.__new__(threading.Thread)
            print(hasattr(thread, '_invoke_excepthook'))
            try: print(thread._invoke_excepthook)
            except AttributeError as error: print(error)
            """
        )

    def test_subclass_that_hides_its_attributes(self) -> None:
        self.check_thread(
            """
            import threading
            class Worker(threading.Thread):
                def __getattribute__(self, name):
                    if name == '__dict__': raise AttributeError(name)
                    return super().__getattribute__(name)
                def run(self): raise ValueError('in thread')
            worker = Worker(name='w')
            worker.start()
            worker.join()
            """
        )

    def test_daemon(self) -> None:
        self.check_thread(THREAD.replace("target=work", "target=work, daemon=True"))

    def test_timer(self) -> None:
        self.check_thread(
            """
            import threading
            def work(): raise ValueError('in thread')
            timer = threading.Timer(0.01, work)
            timer.name = 't'
            timer.start()
            timer.join()
            """
        )

    def test_thread_that_outlives_the_main_thread(self) -> None:
        self.check_thread(
            """
            import threading, time
            def work():
                while threading.main_thread().is_alive(): time.sleep(0.01)
                raise ValueError('in thread')
            threading.Thread(target=work, name='t').start()
            """
        )

    def test_many_at_once(self) -> None:
        source = """
            import threading
            barrier = threading.Barrier(20)
            def work(n):
                barrier.wait()
                raise ValueError('in thread %d' % n)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
            for t in threads: t.start()
            for t in threads: t.join()
            """
        result = self.run_with(source)
        self.assertEqual([r.kind for r in result.reports], ["thread"] * 20, str(result))
        for n in range(20):
            self.assertIn(b"in thread %d\n" % n, result.crash)

    def test_main_thread_crashes_too(self) -> None:
        self.check_reports(THREAD + "\n1/0", "thread", "exception")

    def test_threading_imported_before_us(self) -> None:
        # as another package's .pth line may do
        program = """
            import sys, threading
            early = threading.Thread(target=lambda: 1/0, name='early')
            import crashenv
            crashenv.set_crash_output(int(sys.argv[1]))
            early.start()
            early.join()
            """
        crash = CrashOutput("pipe")
        args = ["-c", textwrap.dedent(program), str(crash.passed)]
        result = run(args, env=environment(PYTHONPATH=importable()), pass_fds=[crash.passed])
        (report,) = split(crash.finish())[0]
        self.assertEqual(report.body.encode(), result.stderr)

    def test_system_exit_is_no_crash(self) -> None:
        self.check_silent(THREAD.replace("ValueError('in thread')", "SystemExit(3)"))
        self.check_silent(THREAD.replace("ValueError('in thread')", "KeyboardInterrupt"))


class RawThread(ProgramTest):
    def test_body_is_what_stderr_shows(self) -> None:
        result = self.run_both(RAW)
        (report,) = result.reports
        self.assertEqual(report.body.encode(), result.stderr)
        self.assertEqual(report.kind, "thread")
        self.assertEqual(report.fields["thread"], "work")

    def test_other_unraisable_exceptions_are_no_crashes(self) -> None:
        self.check_silent(
            """
            import atexit, gc, weakref
            class C:
                def __del__(self): raise ValueError('in del')
            C()
            c = C()
            ref = weakref.ref(c, lambda r: 1/0)
            del c
            gc.collect()
            atexit.register(lambda: 1/0)
            """
        )

    def test_hook_called_with_anything_else(self) -> None:
        self.check_silent("""
            import sys
            for args in (), (5,), (1, 2), (sys,):
                try: sys.unraisablehook(*args)
                except Exception as error: print(type(error))
            """)

    def test_function_whose_repr_raises(self) -> None:
        """From 3.13 on, the interpreter then prints the traceback without a message."""
        program = """
            import _thread, time
            class Work:
                def __repr__(self): raise KeyError
                def __call__(self): begun.append(1); 1/0
            class C:
                def __del__(self): 1/0
            def drop():
                C()
                begun.append(1)
            for work in drop, Work():
                begun = []
                _thread.start_new_thread(work, ())
                while not begun or _thread._count(): time.sleep(0.01)
            """
        report = self.check_reports(program, "thread")[0]
        self.assertIn("ZeroDivisionError", report.body)


class Fatal(ProgramTest):
    def check_fatal(self, program: str) -> None:
        program = "import sys; sys.stdout.write('flushed ')\n" + program
        result = self.run_with(program, "crashthreads=fatal")
        self.assertEqual(result.status, 1, str(result))
        self.assertEqual(result.stdout, b"flushed ", str(result))
        (report,) = result.reports
        self.assertEqual(report.kind, "thread")
        self.assertEqual(report.body.encode(), result.stderr)

    def test_thread_ends_the_process(self) -> None:
        self.check_fatal(THREAD)

    def test_raw_thread_ends_the_process(self) -> None:
        self.check_fatal(RAW)

    def test_thread_that_exits_does_not(self) -> None:
        program = THREAD.replace("ValueError('in thread')", "SystemExit")
        self.check_silent(program, "crashthreads=fatal")

    def test_holds_although_the_crash_output_is_unusable(self) -> None:
        result = self.run_with(THREAD, "crashthreads=fatal", pydebug="crashfd=77")
        self.assertEqual((result.status, result.stdout), (1, b""), str(result))


class Ignore(ProgramTest):
    def test_no_report_of_a_thread(self) -> None:
        self.check_silent(THREAD, "crashthreads=ignore")
        self.check_silent(RAW, "crashthreads=ignore")

    def test_the_main_thread_is_still_reported(self) -> None:
        self.check_reports(THREAD + "\n1/0", "exception", settings="crashthreads=ignore")


class AllTracebacks(ProgramTest):
    def test_other_threads_stacks_follow(self) -> None:
        program = """
            import threading
            ready, done = threading.Event(), threading.Event()
            def waiting():
                ready.set()
                done.wait()
            threading.Thread(target=waiting, name='waiter', daemon=True).start()
            ready.wait()
            raise ValueError('boom')
            """
        result = self.run_both(program, "crashtraceback=all")
        (report,) = split(result.crash)[0]
        exception, _, others = report.body.partition("\nThread 0x")
        self.assertEqual(exception.encode(), result.stderr)
        self.assertIn("[waiter] (most recent call first):\n  File ", others)
        self.assertIn(" in waiting\n", others)
        single = self.run_both(program).reports[0]
        self.assertEqual(single.body, exception)
