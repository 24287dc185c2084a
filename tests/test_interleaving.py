"""Reports of many threads and processes on one crash output: each is whole."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import unittest

from tests.driver import (
    CrashOutput,
    ProgramTest,
    Report,
    environment,
    run,
    split,
    started,
    wait_until,
)

# Eight processes, each with twenty threads that crash at the same moment.
AT_ONCE = """
import os, sys, threading
sys.stderr = open(os.devnull, 'w')
ready, let_go = os.pipe(), os.pipe()
for process in range(8):
    if os.fork() == 0:
        os.close(let_go[1])
        barrier = threading.Barrier(20)
        def work(number):
            if barrier.wait() == 0:
                os.write(ready[1], b'x')
            os.read(let_go[0], 1)
            raise ValueError('%d/%d ' % (process, number) + 'x' * 200_000)
        threads = [threading.Thread(target=work, args=[number]) for number in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os._exit(0)
for process in range(8):
    os.read(ready[0], 1)
os.close(let_go[1])
for process in range(8):
    os.wait()
"""
# Without a sys.stderr, PyPy prints to stdout, which nobody reads here.
QUIET = "import os, sys; sys.stderr = open(os.devnull, 'w')"
BIG = QUIET + "; raise ValueError('x' * 900_000)"


class AtOnce(ProgramTest):
    def test_eight_processes_of_twenty_threads(self) -> None:
        expected = {"%d/%d" % (p, n) for p in range(8) for n in range(20)}
        for output in ("pipe", "socket", "file"):
            with self.subTest(output):
                result = self.run_with(AT_ONCE, "crashtimeout=60", output=output)
                reports, outside = split(result.crash)
                self.assertEqual(outside, b"")
                self.assertEqual({message(report) for report in reports}, expected)
                self.assertEqual(len(reports), 160)
                for report in reports:
                    self.assertGreater(len(report.body), 200_000)


def message(report: Report) -> str:
    return report.body.rpartition("ValueError: ")[2].split(" ")[0]


@unittest.skipUnless(sys.platform == "linux", "needs /proc")
class HolderOfTheLock(ProgramTest):
    """A process that is interrupted in the middle of its report."""

    def in_the_middle(self, signum: int) -> tuple[bytes, float, bytes]:
        """Return a stream with half a report of one process and a whole report of another."""
        reader, writer = os.pipe()
        env = environment(PYDEBUG="crashfd=%d,crashtimeout=60" % writer)
        with started(BIG, env=env, pass_fds=[writer]) as holder:
            stream = os.read(reader, 4096)  # it writes; the pipe is full soon
            wait_until(lambda: is_full(writer), "a full pipe")
            holder.send_signal(signum)
            wait_until(lambda: state(holder.pid) in "TZ", "the signal's effect")
            while is_readable(reader):
                stream += os.read(reader, 65536)
            before = time.monotonic()
            env["PYDEBUG"] = "crashfd=%d,crashtimeout=1" % writer
            other = run("1/0", env=env, pass_fds=[writer])
            took = time.monotonic() - before
            stream += os.read(reader, 65536)
            holder.kill()
        os.close(writer)
        os.close(reader)
        self.assertEqual(other.ending(), run("1/0").ending())
        return stream, took, other.stderr

    def check(self, signum: int) -> None:
        stream, took, stderr = self.in_the_middle(signum)
        self.assertLess(took, 20)
        (report,) = split(stream[stream.rindex(b"crashenv: report ") :])[0]
        self.assertEqual(report.body.encode(), stderr)

    def test_stopped(self) -> None:
        self.check(signal.SIGSTOP)

    def test_killed(self) -> None:
        self.check(signal.SIGKILL)

    def test_report_in_another_thread_goes_first(self) -> None:
        # The reader is slow, so the main thread crashes during the other thread's report.
        program = """
            import os, sys, threading
            sys.stderr = open(os.devnull, 'w')
            started = threading.Event()
            def work():
                started.set()
                raise ValueError('x' * 900_000)
            threading.Thread(target=work).start()
            started.wait()
            raise KeyError('main')
            """
        crash = CrashOutput.slow("pipe")
        env = environment(PYDEBUG="crashfd=%d,crashtimeout=60" % crash.passed)
        result = run(program, env=env, pass_fds=[crash.passed])
        reports, outside = split(crash.finish())
        self.assertEqual(result.status, 1)
        self.assertEqual(outside, b"")
        self.assertEqual({report.kind for report in reports}, {"thread", "exception"})


def is_full(writer: int) -> bool:
    """Return whether the pipe has no room for the smallest single write."""
    return not select.select([], [writer], [], 0)[1]


def is_readable(reader: int) -> bool:
    return bool(select.select([reader], [], [], 0)[0])


def state(pid: int) -> str:
    """Return one letter, as in proc(5)."""
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(")")[2].split()[0]
