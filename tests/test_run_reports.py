"""The records of ``crashenv run``: reports as they arrive, and deaths that only it can see."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.driver import (
    INSTALLED,
    ROOT,
    MonitorTest,
    Result,
    command,
    monitor,
    needs_monitor,
    obey_permissions,
    run,
    wait_until,
)

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
from crashenv import _store
from crashenv._monitor import Options, deaths, oom, reports
from crashenv._monitor.loop import is_ending

SH = "/bin/sh"
FATAL_ERROR = "import ctypes; ctypes.pythonapi.Py_FatalError(b'out of luck')"
CORE_SIGNALS = ("QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "XCPU", "XFSZ", "SYS")


class ReportTest(MonitorTest):
    def test_exception(self) -> None:
        script = self.write("app.py", "def load():\n    raise ValueError('boom')\nload()\n")
        result = self.run_monitored(command([script]))
        record = self.check_record("exception", result)
        self.assertEqual(record["summary"], "ValueError: boom")
        self.assertEqual(record["where"], "app.py:2 in load")
        self.assertEqual(record["command"], [sys.executable, script])
        self.assertEqual(record["ending"]["status"], 1)
        self.assertIsNone(record["ending"]["signal"])
        self.assertIn("ValueError: boom\n", record["text"])
        self.assertEqual(record["header"]["program"], script)

    def test_one_line_tells_it(self) -> None:
        script = self.write("app.py", "def load():\n    raise ValueError('boom')\nload()\n")
        for options in ((), ("--store", str(self.store)), ("--quiet",), ("-q",)):
            with self.subTest(options):
                result = self.run_monitored(command([script]), *options)
                last = result.stderr.decode().splitlines()[-1]
                text = "crashenv: ValueError: boom (main thread, app.py:2 in load); crashenv show "
                if options and options[0] == "--store":
                    text += "--store %s " % self.store
                if options and "q" in options[0]:
                    self.assertEqual(last, "ValueError: boom")
                else:
                    self.assertEqual(last, text + self.records()[-1]["id"][:8])

    def test_line_leads_to_the_record(self) -> None:
        result = self.run_monitored("raise ValueError('boom')", "--store", str(self.store))
        text = result.stderr.decode().splitlines()[-1].partition("; crashenv ")[2]
        shown = run(["-m", "crashenv", *text.split(" ")], env=self.env)
        self.assertEqual(shown.status, 0, str(shown))
        self.assertIn(b"ValueError: boom", shown.stdout)

    def test_line_cannot_steer_the_terminal(self) -> None:
        result = self.run_monitored("raise ValueError('\\x1b[31m\\x07' + 'x' * 5000)")
        line = result.stderr.decode().splitlines()[-1]
        self.assertTrue(line.isprintable(), ascii(line))
        self.assertIn("\\x1b[31m\\x07xxx", line)
        self.assertLess(len(line), 500)

    def test_thread_shows_at_once_and_gets_the_ending_later(self) -> None:
        program = """
            import sys, threading
            threading.Thread(target=lambda: 1/0).start()
            sys.stdin.read()
            sys.exit(3)
        """
        with self.started_monitored(program, "--quiet") as process:
            (record,) = wait_until(self.records, "the record")
            self.assertEqual(record["kind"], "thread")
            self.assertNotIn("ending", record)
            process.communicate()
            (record,) = self.records()
            self.assertEqual(record["ending"]["status"], 3)

    def test_workers_report(self) -> None:
        script = self.write(
            "app.py",
            """
            import multiprocessing
            def fail(n):
                raise ValueError(n)
            if __name__ == "__main__":
                workers = [multiprocessing.Process(target=fail, args=(n,)) for n in range(3)]
                for worker in workers: worker.start()
                for worker in workers: worker.join()
            """,
        )
        self.run_monitored(command([script]), "--quiet")
        records = self.records()
        self.assertEqual([record["kind"] for record in records], ["process"] * 3)
        self.assertEqual(len({record["id"] for record in records}), 3)

    def test_descendants_that_inherit_nothing_report(self) -> None:
        program = """
            import subprocess, sys
            child = "import subprocess, sys; subprocess.run([sys.executable, '-c', '1/0']); 2/0"
            subprocess.run([sys.executable, '-c', child])
            subprocess.run([sys.executable, '-c', 'import os; os.abort()'])
            """
        for options in (("--quiet",), ("--quiet", "--variable", "CRASHENV")):
            with self.subTest(options):
                shutil.rmtree(self.store, ignore_errors=True)
                self.run_monitored(program, *options)
                summaries = sorted(record["summary"] for record in self.records())
                self.assertEqual(len(summaries), 3, summaries)
                error = "ZeroDivisionError: division by zero"
                self.assertEqual(summaries, [error, error, "killed by SIGABRT"])

    def test_variable(self) -> None:
        program = "import os; print(os.environ.get('PYDEBUG'), 'CRASHENV' in os.environ); 1/0"
        env = {**self.env, "PYDEBUG": "1"}
        result = self.run_monitored(program, "--quiet", "--variable", "CRASHENV", env=env)
        self.assertEqual(result.stdout, b"1 True\n")
        result = self.run_monitored(program, "--quiet", env={**self.env, "CRASHENV": "1"})
        self.assertEqual(result.stdout, b"None True\n")
        self.assertEqual(len(self.records()), 2)
        result = self.run_monitored(program, "--variable", "X")
        self.assertEqual(result.status, 125)

    def test_not_crashes_leave_nothing(self) -> None:
        for program in (
            [SH, "-c", "exit 1"],
            [SH, "-c", "kill -TERM $$"],
            [SH, "-c", "kill -INT $$"],
            [SH, "-c", "kill -HUP $$"],
            [SH, "-c", "kill -PIPE $$"],
            [SH, "-c", "kill -USR1 $$"],
            command("raise SystemExit('no')"),
            command("raise KeyboardInterrupt"),
        ):
            with self.subTest(program):
                self.run_monitored(program, "--capture-stderr")
                self.assertEqual(self.records(), [])
                self.assertFalse(self.store.exists())

    def test_dump_of_a_descendant(self) -> None:
        program = """
            import subprocess, sys
            subprocess.run([sys.executable, "-c", "import os; os.abort()"], close_fds=False)
            sys.stdin.read()
        """
        with self.started_monitored(program) as process:
            (record,) = wait_until(self.records, "the record")
            self.assertEqual(record["kind"], "death")
            self.assertEqual(record["ending"]["signal"], "SIGABRT")
            self.assertEqual(record["dump"]["signal"], "SIGABRT")
            self.assertEqual(record["program"], "-c")
            self.assertIsNotNone(record["time"])
            process.communicate()
        self.assertEqual(len(self.records()), 1)

    def test_stacks_on_a_signal(self) -> None:
        program = """
            import sys
            print("ready", flush=True)
            sys.stdin.read()
        """
        env = {**self.env, "PYDEBUG": "crashsignal=USR2"}
        with self.started_monitored(program, env=env) as process:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(signal.SIGUSR2)
            (record,) = wait_until(self.records, "the record")
            self.assertEqual(record["kind"], "dump")
            process.communicate()
            self.assertEqual(process.returncode, 0)

    def test_store_that_cannot_be_written_costs_one_line(self) -> None:
        result = self.run_monitored("1/0", "--store", "/dev/null/x")
        self.assertEqual(result.status, 1)
        lines = result.stderr.decode().splitlines()
        self.assertRegex(lines[-2], r"\Acrashenv: cannot store a report: .*Not a directory")
        self.assertRegex(lines[-1], r"\Acrashenv: ZeroDivisionError: .* in <module>\)\Z")

    def test_store_that_cannot_be_written_is_told_at_the_start(self) -> None:
        program = [SH, "-c", "read x"]
        with self.started_monitored(program, "--store", "/dev/null/x") as process:
            assert process.stderr
            text = process.stderr.readline().decode()
            self.assertEqual(
                text, "crashenv: records cannot be stored: /dev/null is not a folder\n"
            )
            self.assertIsNone(process.poll())
        self.store.mkdir(parents=True)
        os.chmod(self.store, 0o500)
        result = self.run_monitored([SH, "-c", ":"], preexec_fn=obey_permissions())
        text = "crashenv: records cannot be stored: %s cannot be written\n" % self.store
        self.assertEqual((result.status, result.stderr.decode()), (0, text))
        os.chmod(self.store, 0o700)
        self.assertEqual(self.run_monitored([SH, "-c", ":"]).stderr, b"")

    def test_full_store_is_a_problem(self) -> None:
        full = mock.Mock(f_blocks=10, f_bavail=0, f_bfree=0)
        for blocks, text in ((10, "no space is left in %s" % self.folder), (0, "")):
            full.f_blocks = blocks  # 0: a file system that does not count them
            with mock.patch("os.statvfs", return_value=full):
                self.assertEqual(_store.problem(str(self.folder / "a" / "b")), text)

    def test_full_disk_loses_the_file_only(self) -> None:
        def limit() -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        result = self.run_monitored("1/0", preexec_fn=limit)
        self.assertEqual(result.status, 1, str(result))
        self.assertIn(b"cannot store a report", result.stderr)
        self.assertEqual(list(self.store.iterdir()), [])

    def test_orphan_that_keeps_the_pipe_is_not_waited_for(self) -> None:
        with orphan_script(self.folder) as orphan:
            result = self.run_monitored([SH, "-c", orphan % "" + " >/dev/null 2>&1 & exit 4"])
            self.assertEqual(result.status, 4)

    @needs_monitor
    def test_orphans_report_is_kept(self) -> None:
        """It arrives after the program's end; the grace is long enough for a busy machine."""
        monitor = """
            import sys
            from crashenv._monitor import loop
            from crashenv.__main__ import main
            loop._GRACE = loop._LONGEST_GRACE = 30
            main(["run", "--quiet", sys.executable, sys.argv[1]])
        """
        program = """
            import os, time
            parent = os.getpid()
            if os.fork():
                os._exit(4)
            while os.getppid() == parent:
                time.sleep(0.001)
            1/0
        """
        args = [self.write("monitor.py", monitor), self.write("app.py", program)]
        result = run(args, env=self.env)
        self.assertEqual(result.status, 4, str(result))
        self.check_record("exception", result)


class DeathTest(MonitorTest):
    def check_death(self, program: Any, name: str, *options: str, **others: Any) -> dict[str, Any]:
        result = self.run_monitored(program, *options, **others)
        self.assertEqual(result.status, -getattr(signal, name), str(result))
        record = self.check_record("death", result)
        self.assertEqual(record["ending"]["signal"], name)
        self.assertIsNone(record["ending"]["status"])
        for path in self.store.iterdir():
            path.unlink()
        return record

    def test_killed(self) -> None:
        program = "import os; print(os.getpid()); b'x' * (64 << 20); os.kill(os.getpid(), 9)"
        result = self.run_monitored(program)
        record = self.check_record("death", result)
        ending = record["ending"]
        self.assertEqual(record["summary"], "killed by SIGKILL")
        self.assertEqual(record["pid"], int(result.stdout or b"0") or record["pid"])
        self.assertGreater(ending["peak_memory"], 64 << 20)
        self.assertGreater(ending["run_time"], 0)
        self.assertGreater(ending["user_time"] + ending["system_time"], 0)
        self.assertLess(ending["user_time"], 10)
        self.assertIs(ending["core"], False)
        line = result.stderr.decode()
        self.assertEqual(
            line,
            "crashenv: killed by SIGKILL (pid %d); crashenv show %s\n"
            % (record["pid"], record["id"][:8]),
        )

    def test_core_signals_of_a_program_that_is_not_python(self) -> None:
        for name in CORE_SIGNALS:
            with self.subTest(name):
                record = self.check_death([SH, "-c", "kill -%s $$" % name], "SIG" + name)
                self.assertIsNone(record["dump"])

    def test_dump_and_death_are_one_record(self) -> None:
        for name in CORE_SIGNALS:
            if name == "XFSZ":  # Python ignores it
                continue
            with self.subTest(name):
                program = "import os, signal; os.kill(os.getpid(), signal.SIG%s)" % name
                record = self.check_death(program, "SIG" + name)
                self.assertEqual(record["where"], "<string>:1 in <module>")
                threads = record["dump"]["threads"]
                self.assertEqual(threads[0]["frames"][0]["function"], "<module>")
                self.assertTrue(record["summary"].startswith("killed by SIG" + name))

    def test_dump_of_many_threads_is_one_record(self) -> None:
        log = self.folder / "hooks"
        hook = self.write("hook.sh", "cat >/dev/null; echo x >>%s\n" % log)
        program = """
            import os, threading
            done, barrier = threading.Event(), threading.Barrier(6)
            def wait():
                barrier.wait()
                done.wait()
            for _ in range(5):
                threading.Thread(target=wait, name='same', daemon=True).start()
            barrier.wait()
            def culprit(): os.kill(os.getpid(), 11)
            culprit()
            """
        result = self.run_monitored(program, "--on-crash", "sh " + hook)
        self.assertEqual(result.status, -signal.SIGSEGV, str(result))
        (record,) = self.records()
        self.assertIn(" in culprit", record["where"])
        self.assertEqual(len(record["dump"]["threads"]), 6)
        self.assertEqual(result.stderr.count(b"crashenv: "), 1, str(result))
        self.assertEqual(log.read_text(), "x\n")

    def test_dump_waits_for_its_process_to_be_gone(self) -> None:
        """Writing a large core file takes longer than the pause that ends a dump."""
        child = os.fork()
        if child == 0:
            os._exit(0)
        self.addCleanup(os.waitpid, child, 0)
        status = Path("/proc/%d/status" % child)
        wait_until(lambda: "State:\tZ" in status.read_text(), "the zombie")
        self.assertTrue(is_ending(child))
        self.assertFalse(is_ending(os.getpid()))
        dumping = status.read_text().replace("Z (zombie)", "D (disk sleep)\nCoreDumping:\t1")
        with mock.patch("builtins.open", lambda *args: io.BytesIO(dumping.encode())):
            self.assertTrue(is_ending(child))

    def test_fatal_error_with_captured_stderr(self) -> None:
        record = self.check_death(FATAL_ERROR, "SIGABRT", "--capture-stderr")
        self.assertEqual(record["summary"], "killed by SIGABRT: out of luck")
        self.assertIn("Fatal Python error: out of luck\n", record["stderr"])
        self.assertEqual(record["where"], "<string>:1 in <module>")

    @unittest.skipUnless(platform.libc_ver()[0] == "glibc", "knows glibc's words")
    def test_last_words_of_the_c_library(self) -> None:
        program = """
            import ctypes
            libc = ctypes.CDLL(None)
            libc.malloc.restype = ctypes.c_void_p
            place = ctypes.c_void_p(libc.malloc(100))
            libc.free(place)
            libc.free(place)
        """
        record = self.check_death(program, "SIGABRT", "--capture-stderr")
        self.assertIn("double free", record["stderr"])
        self.assertEqual(record["dump"]["signal"], "SIGABRT")

    def test_fatal_error_without(self) -> None:
        record = self.check_death(FATAL_ERROR, "SIGABRT")
        self.assertEqual(record["summary"], "killed by SIGABRT")
        self.assertNotIn("stderr", record)

    def test_interpreter_that_cannot_start(self) -> None:
        program = [SH, "-c", "PYTHONHOME=/nonexistent exec %s -c pass" % sys.executable]
        result = self.run_monitored(program, "--capture-stderr")
        self.assertEqual(result.status, 1, str(result))
        record = self.check_record("death", result)
        self.assertEqual(record["ending"]["status"], 1)
        self.assertIn("before the program started", record["summary"])

    def test_death_before_site_ran(self) -> None:
        record = self.check_death([SH, "-c", "kill -SEGV $$; exec %s" % sys.executable], "SIGSEGV")
        self.assertEqual(record["program"], SH)

    def test_out_of_memory(self) -> None:
        group = memory_cgroup(self)
        script = (
            """
            echo $$ > %s/cgroup.procs
            exec "$@"
        """
            % group
        )
        program = "x = [bytearray(b'x' * (1 << 20)) for _ in range(200)]"
        result = run_sh(script, [*monitor(), *command(program)], self.env)
        self.assertEqual(result.status, -signal.SIGKILL, str(result))
        record = self.check_record("death", result)
        self.assertEqual(record["ending"]["oom_kills"], 1)
        self.assertEqual(record["summary"], "killed by SIGKILL from the OOM killer")

    def test_stored_although_an_orphan_holds_the_pipe(self) -> None:
        with orphan_script(self.folder) as orphan:
            script = orphan % "" + " >/dev/null 2>&1 & kill -9 $$"
            self.check_record("death", self.run_monitored([SH, "-c", script]))


class CaptureTest(MonitorTest):
    def test_end_of_stderr_and_all_of_it(self) -> None:
        program = """
            import os, sys
            for n in range(100_000):
                sys.stderr.write("%06d\\n" % n)
            sys.stderr.flush()
            os.kill(os.getpid(), 9)
        """
        result = self.run_monitored(program, "--capture-stderr", "--quiet")
        self.assertEqual(result.stderr, b"".join(b"%06d\n" % n for n in range(100_000)))
        record = self.check_record("death", result)
        self.assertEqual(record["stderr"].encode(), result.stderr[-(1 << 16) :])

    def test_what_runs_on_keeps_its_stderr(self) -> None:
        with orphan_script(self.folder) as orphan:
            script = orphan % "; echo late >&2" + " & echo early >&2"
            with self.started_monitored([SH, "-c", script], "--capture-stderr") as process:
                assert process.stderr
                self.assertEqual(process.wait(), 0)
                self.assertEqual(process.stderr.readline(), b"early\n")
                os.close(os.open(self.folder / "fifo", os.O_WRONLY))
                self.assertEqual(process.stderr.read(), b"late\n")

    def test_reader_that_goes_away_is_noticed(self) -> None:
        """The program gets the same SIGPIPE as without the monitor."""
        ours, theirs = os.pipe()
        args = [*monitor("--capture-stderr"), SH, "-c", "while :; do echo x >&2; done"]
        process = subprocess.Popen(args, env=self.env, stderr=theirs)
        os.close(theirs)
        os.read(ours, 10)
        os.close(ours)
        self.assertEqual(process.wait(60), -signal.SIGPIPE)

    def test_stuck_reader_does_not_hang_the_end(self) -> None:
        program = """
            import os, time
            os.set_blocking(2, False)
            failed = 0
            while failed < 50:
                try:
                    os.write(2, b"x" * 4096)
                    failed = 0
                except BlockingIOError:
                    failed += 1
                    time.sleep(0.001)
            os.kill(os.getpid(), 9)
        """
        ours, theirs = os.pipe()
        args = [*monitor("--capture-stderr"), *command(program)]
        process = subprocess.Popen(args, env=self.env, stderr=theirs)
        try:
            self.assertEqual(process.wait(60), -signal.SIGKILL)
        finally:
            os.close(ours)
            os.close(theirs)
        (record,) = self.records()
        self.assertNotIn("stderr", record)


class FloodTest(MonitorTest):
    def test_flood_is_drained_in_bounded_memory_and_marked(self) -> None:
        program = """
            import os
            fd = int(os.environ["PYDEBUG"].split("=")[1].split(":")[0])
            frame = b"crashenv: report kind=thread pid=1 bytes=5\\nboom\\n"
            for _ in range(50):
                os.write(fd, frame * 1000)
            os.write(fd, b"garbage\\n" * 500_000)
            print(open("/proc/%d/status" % os.getppid()).read())
        """
        result = self.run_monitored(program, "--quiet", "--max-records", "1500")
        peak = re.search(r"VmHWM:\s+(\d+) kB", result.stdout.decode())
        assert peak, str(result)
        self.assertLess(int(peak.group(1)), 24 << 10)
        lost = self.check_counted(result)
        records = self.records()
        self.assertLessEqual(len(records), 1500)
        text = sum(record.get("lost", 0) for record in records)
        self.assertTrue(0 < text <= lost, (text, lost))

    def check_counted(self, result: Result) -> int:
        lost = re.search(
            rb"crashenv: (\d+) reports came too fast and were left out\n", result.stderr
        )
        skipped = re.search(rb"crashenv: (\d+) bytes in the pipe were not reports\n", result.stderr)
        assert lost and skipped, str(result)
        self.assertEqual(int(skipped.group(1)), 4_000_000)
        self.assertGreater(int(lost.group(1)), 10_000)
        return int(lost.group(1))


@contextlib.contextmanager
def orphan_script(folder: Path) -> Iterator[str]:
    """Return a shell command that waits until ``fifo`` is opened for writing, or this ends."""
    os.mkfifo(folder / "fifo")
    try:
        yield "( read x <%s/fifo%%s )" % folder
    finally:
        with contextlib.suppress(OSError):  # ENXIO: nothing waits
            os.close(os.open(folder / "fifo", os.O_WRONLY | os.O_NONBLOCK))


class WordsTest(unittest.TestCase):
    """The text of a death report, with values from the test."""

    def test_program_is_the_script_or_the_module(self) -> None:
        for words, program in (
            ("python app.py", "app.py"),
            ("/usr/bin/python3 -u -W error app.py -x", "app.py"),
            ("python3 -X dev -m http.server 80", "http.server"),
            ("python3 -c pass", "-c"),
            ("python3", "python3"),
            ("/usr/bin/gunicorn app:main", "/usr/bin/gunicorn"),
        ):
            self.assertEqual(deaths.program(words.split(" ")), program)

    def test_fatal_error_is_the_last(self) -> None:
        for stderr, expected in (
            (None, (b"", "")),
            (b"said Fatal Python error: no\n", (b"", "")),
            (b"Fatal Python error: a\n", (b"Fatal Python error: a\n", "a")),
            (b"x\nFatal Python error: a\nFatal Python error: b", (b"Fatal Python error: b", "b")),
        ):
            self.assertEqual(deaths.fatal_error(stderr), expected)

    def test_signal_names(self) -> None:
        for number, name in ((6, "SIGABRT"), (9, "SIGKILL"), (34, "SIGRTMIN"), (40, "SIG40")):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            self.assertEqual(deaths.ending(number, usage, 0.0, None)["signal"], name)

    def test_oom_kills_of_every_kind_of_cgroup(self) -> None:
        group = "4:memory:/a\n0::/b\n"
        for files, kills in (
            ({"/proc/self/cgroup": group, "/sys/fs/cgroup/memory/a/memory.oom_control": 1}, 1),
            ({"/proc/self/cgroup": group, "/sys/fs/cgroup/memory/memory.oom_control": 2}, 2),
            ({"/proc/self/cgroup": "0::/b\n", "/sys/fs/cgroup/b/memory.events": 3}, 3),
            ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.events": 4}, 4),
            ({"/proc/self/cgroup": "0::/host/x\n", "/sys/fs/cgroup/memory.events": 5}, 5),
            ({"/proc/self/cgroup": "0::/\n", "/proc/vmstat": 6}, 6),
            ({}, None),
        ):
            with self.subTest(files), mock.patch("builtins.open", opening(files)):
                self.assertEqual(oom.kills(), kills)

    def test_record_that_cannot_be_made_costs_one_line(self) -> None:
        found = reports.Reports(Options(["true"]), 1, mock.Mock())
        with mock.patch.object(reports, "say") as said:
            with mock.patch.object(reports, "build") as build:
                build.record.side_effect = RuntimeError("oh")
                found.feed(b"crashenv: report kind=thread bytes=2\nx\n")
                found.work()
        said.assert_called_once_with("cannot store a report: RuntimeError('oh')")


def opening(files: dict[str, Any]) -> Callable[..., io.IOBase]:
    """Return an ``open`` that knows only these files; a number is a count of kills."""

    def open_one(path: str, mode: str = "r") -> io.IOBase:
        if path not in files:
            raise FileNotFoundError(path)
        content = files[path]
        text = content if isinstance(content, str) else "oom 7\noom_kill %d\n" % content
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)

    return open_one


def memory_cgroup(test: unittest.TestCase) -> Path:
    """Make a cgroup whose processes may have 40 MiB together, or raise SkipTest."""
    for base, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = base / ("crashenv-test-%d" % os.getpid())
        try:
            group.mkdir()
        except OSError:
            continue
        test.addCleanup(group.rmdir)
        try:
            (group / limit).write_text(str(40 << 20))
        except OSError:
            continue
        return group
    raise unittest.SkipTest("no memory cgroup can be made here")


def run_sh(script: str, arguments: list[str], env: dict[str, str]) -> Result:
    args = [SH, "-c", script, "sh", *arguments]
    done = subprocess.run(args, env=env, capture_output=True, timeout=60, check=False)
    return Result(args, done.returncode, done.stdout, done.stderr)


if __name__ == "__main__":
    unittest.main()
