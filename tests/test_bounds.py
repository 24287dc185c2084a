"""How long a report may take and how large it may be."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import socket
import subprocess
import time
import unittest
from pathlib import Path

from tests.driver import (
    DEADLINE,
    CrashOutput,
    Result,
    WatchedTest,
    environment,
    run,
    split,
    started,
    wait_until,
)

SEGV = "import os; os.kill(os.getpid(), 11)"
BIG = "raise ValueError('begin' + 'x' * %d + 'end')"


class Limit(WatchedTest):
    def test_least_limit_holds_for_the_whole_report(self) -> None:
        result = self.run_both(BIG % 10_000, "crashlimit=1K")
        self.assertLessEqual(len(result.crash), 1024)
        self.assertGreater(len(result.crash), 900)
        (report,) = result.reports
        self.assertTrue(report.body.startswith("Traceback"))
        self.assertTrue(report.body.endswith("end\n"))
        self.assertRegex(report.body, r"\n\[crashenv: \d+ bytes left out\]\n")

    def test_cut_between_characters(self) -> None:
        for pad in range(4):
            with self.subTest(pad):
                source = "raise ValueError('%s' + '\\U0001f600' * 5000)" % ("x" * pad)
                (report,) = self.run_with(source, "crashlimit=2K").reports
                text = re.sub(r"\n\[crashenv: \d+ bytes left out\]\n", "", report.body)
                self.assertIn("\U0001f600" * 100, text)
                self.assertNotIn("\\x", text.split("ValueError")[-1])

    def test_report_that_just_fits_is_whole(self) -> None:
        whole = len(self.run_with(BIG % 1000, "crashlimit=8K").crash)
        result = self.run_with(BIG % (1000 + 8192 - whole - 8), "crashlimit=8K")
        self.assertNotIn("left out", result.reports[0].body)
        result = self.run_with(BIG % (1000 + 8192 - whole + 8), "crashlimit=8K")
        self.assertIn("left out", result.reports[0].body)

    def test_header_values_are_bounded(self) -> None:
        program = (
            "import threading\n"
            "t = threading.Thread(target=lambda: 1/0, name='\\u00fc%= \\n' * 100_000)\n"
            "t.start()\nt.join()"
        )
        result = self.run_with(program, "crashlimit=1K")
        self.assertLessEqual(len(result.crash), 1024)
        self.assertTrue(result.reports[0].fields["thread"].startswith("\u00fc%= \n\u00fc"))

    def test_message_cannot_forge_a_report(self) -> None:
        forged = "crashenv: report kind=exception pid=1 bytes=5"
        report = self.check_exception("raise ValueError('x\\n%s\\nabcd\\n')" % forged)
        self.assertIn(forged, report.body)


class Timeout(WatchedTest):
    """Without a reader, the program ends as without crashenv, in time."""

    def check_ends(
        self, program: str, seconds: float, kind: str, settings: str, status: int
    ) -> None:
        if kind == "pipe":
            reader, writer = os.pipe()
        elif kind == "pty":
            reader, writer = pty.openpty()
        else:
            ours, theirs = socket.socketpair()
            reader, writer = ours.detach(), theirs.detach()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        try:
            without = run(program)
            env = environment(PYDEBUG="crashfd=%d,%s" % (writer, settings))
            before = time.monotonic()
            result = run(program, env=env, pass_fds=[writer])
            self.assertLess(time.monotonic() - before, seconds, str(result))
            self.assertTrue(os.get_blocking(writer))
        finally:
            os.close(reader)
            os.close(writer)
        self.assertEqual(result.ending(), without.ending())
        self.assertEqual(result.status, status)

    def test_exception(self) -> None:
        for kind in ("pipe", "socket", "pty"):
            with self.subTest(kind):
                self.check_ends("1/0", 4.5, kind, "crashtimeout=0.5", 1)

    def test_zero_never_waits(self) -> None:
        for kind in ("pipe", "socket"):
            with self.subTest(kind):
                self.check_ends("1/0", 4.5, kind, "crashtimeout=0", 1)

    def test_fatal_signal_with_a_hundred_threads(self) -> None:
        program = """
            import os, _thread, time
            for _ in range(100): _thread.start_new_thread(time.sleep, (60,))
            os.kill(os.getpid(), 11)
            """
        for kind in ("pipe", "socket", "pty"):
            with self.subTest(kind):
                self.check_ends(program, 20.0, kind, "crashtimeout=0.5", -signal.SIGSEGV)

    def test_ten_threads_at_once(self) -> None:
        program = """
            import sys, threading
            sys.stderr = None
            barrier = threading.Barrier(10)
            def work():
                barrier.wait()
                raise ValueError
            threads = [threading.Thread(target=work) for _ in range(10)]
            for t in threads: t.start()
            for t in threads: t.join()
            """
        for kind in ("pipe", "socket", "pty"):
            with self.subTest(kind):
                self.check_ends(program, 8.0, kind, "crashtimeout=1", 0)


class DeadFileServer(WatchedTest):
    """A file system whose server stops answering, before the crash."""

    def setUp(self) -> None:
        super().setUp()
        self.mounted = self.folder / "mounted"
        self.mounted.mkdir()
        (self.folder / "real").mkdir()
        server = ["bindfs", "-f", str(self.folder / "real"), str(self.mounted)]
        try:
            self.server = subprocess.Popen(server, stdout=subprocess.DEVNULL)
        except OSError:
            self.skipTest("needs bindfs(1)")
        self.addCleanup(self.stop)
        try:
            wait_until(lambda: self.mounted.is_mount() or self.server.poll(), "the mount")
        finally:
            if self.server.poll() is not None:
                self.skipTest("needs /dev/fuse and the right to mount")

    def stop(self) -> None:
        self.server.kill()
        self.server.wait()
        subprocess.run(["umount", "--lazy", str(self.mounted)], check=False)

    def is_stopped(self) -> bool:
        tasks = Path("/proc/%d/task" % self.server.pid).iterdir()
        states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks]
        return set(states) == {"T"}

    def check_ends(self, crash: str) -> None:
        program = "import sys\nprint('x', flush=True); sys.stdin.readline()\n" + crash
        without = run(program, input=b"\n")
        env = environment(PYDEBUG="crashfile=%s/crash.log,crashtimeout=0.5" % self.mounted)
        with started(program, env=env) as process:
            assert process.stdout is not None
            stdout = process.stdout.readline()
            os.kill(self.server.pid, signal.SIGSTOP)
            # If one of its threads accepted a request, nothing would end the wait.
            wait_until(self.is_stopped, "the server to be stopped")
            before = time.monotonic()
            more, stderr = process.communicate(b"\n", timeout=DEADLINE)
            self.assertLess(time.monotonic() - before, 20)
        result = Result([], process.returncode, stdout + more, stderr)
        self.assertEqual(result.ending(), without.ending())

    def test_exception(self) -> None:
        self.check_ends("1/0")

    def test_fatal_signal(self) -> None:
        self.check_ends(SEGV)

    def test_clean_exit(self) -> None:
        self.check_ends("")

    def test_server_that_answers_gets_the_report(self) -> None:
        program = "raise ValueError('x' * 200_000)"
        result = self.run_both(program, pydebug="crashfile=%s/crash.log" % self.mounted)
        (report,) = split((self.folder / "real" / "crash.log").read_bytes())[0]
        self.assertEqual(report.body.encode(), result.stderr)

    @unittest.skipUnless(hasattr(os, "posix_spawn"), "needs os.posix_spawn")
    def test_server_that_answers_gets_the_dump(self) -> None:
        self.run_both(SEGV, pydebug="crashfile=%s/crash.log" % self.mounted)
        log = self.folder / "real" / "crash.log"
        wait_until(lambda: b"most recent call first" in log.read_bytes(), "the dump")


class SlowReader(WatchedTest):
    def test_loses_nothing(self) -> None:
        for kind in ("pipe", "socket"):
            for blocking in (True, False):
                with self.subTest(kind=kind, blocking=blocking):
                    self.check_slow(kind, blocking)

    def check_slow(self, kind: str, blocking: bool) -> None:
        crash = CrashOutput.slow(kind)
        os.set_blocking(crash.passed, blocking)
        env = environment(PYDEBUG="crashfd=%d" % crash.passed)
        result = run(BIG % 900_000, env=env, pass_fds=[crash.passed])
        self.assertEqual(os.get_blocking(crash.passed), blocking)
        (report,) = split(crash.finish())[0]
        self.assertEqual(report.body.encode(), result.stderr)


class BrokenOutput(WatchedTest):
    def test_reader_is_gone(self) -> None:
        for prelude in ("", "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"):
            reader, writer = os.pipe()
            os.close(reader)
            env = environment(PYDEBUG="crashfd=%d" % writer)
            with self.subTest(prelude):
                result = run(prelude + "1/0", env=env, pass_fds=[writer])
                self.assertEqual(result.ending(), run(prelude + "1/0").ending())
            os.close(writer)

    def test_full_disk(self) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            env = environment(PYDEBUG="crashfd=%d" % full.fileno())
            result = run("1/0", env=env, pass_fds=[full.fileno()])
        self.assertEqual(result.ending(), run("1/0").ending())

    def test_file_size_limit(self) -> None:
        program = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n1/0"
        )
        crash = CrashOutput("file")
        env = environment(PYDEBUG="crashfd=%d" % crash.passed)
        result = run(program, env=env, pass_fds=[crash.passed])
        self.assertEqual(len(crash.finish()), 10)
        self.assertEqual(result.ending(), run(program).ending())

    def test_no_descriptor_left(self) -> None:
        program = """
            import os
            try:
                while True: os.open('/dev/null', os.O_RDONLY)
            except OSError:
                pass
            1/0
            """
        for low in (False, True):
            limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))) if low else None
            with self.subTest(low):
                result = self.run_both(program, preexec_fn=limit)
                self.assertEqual(len(result.reports), 1, str(result))

    def test_root_directory_changed(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("chroot needs root")
        os.mkdir(self.folder / "empty")
        program = "import os; os.chroot(%r); os.chdir('/'); 1/0" % str(self.folder / "empty")
        (report,) = self.check_reports(program, "exception")
        self.assertIn("ZeroDivisionError", report.body)
