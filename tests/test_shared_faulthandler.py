"""faulthandler has one descriptor; who asked for it gets its dump, and so do we."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import unittest
from pathlib import Path
from typing import Any

from tests.driver import (
    CrashOutput,
    ProgramTest,
    Result,
    environment,
    run,
    started,
    wait_until,
)

KILL = "\nimport os\ndef culprit(): os.kill(os.getpid(), %d)\nculprit()\n"
SEGV = KILL % signal.SIGSEGV
VIEW = """
import faulthandler, sys
print(faulthandler.is_enabled())
print(faulthandler.enable(), faulthandler.is_enabled())
print(faulthandler.disable(), faulthandler.disable(), faulthandler.is_enabled())
print(faulthandler.enable(open(sys.argv[1], 'w'), all_threads=False), faulthandler.is_enabled())
for wrong in ('x', -1, object()):
    try: faulthandler.enable(wrong)
    except Exception as error: print(type(error).__name__)
print(faulthandler.is_enabled(), faulthandler.disable())
"""


def relays(to: int) -> list[int]:
    """The processes that run the relay's program and write to the file of descriptor ``to``."""
    file = os.readlink("/proc/self/fd/%d" % to)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            files = [os.readlink(link) for link in (folder / "fd").iterdir()]
        except OSError:  # it has just ended
            continue
        if b"import os, select, sys, _signal" in command and file in files:
            found.append(int(folder.name))
    return found


@unittest.skipUnless(hasattr(os, "posix_spawn"), "needs os.posix_spawn")
class Shared(ProgramTest):
    def check_both(self, program: list[str], **options: Any) -> Result:
        result = self.check_dump(program, signal.SIGSEGV, **options)
        self.assertIn(b" in culprit\n", result.stderr)
        self.assertEqual(result.crash, result.stderr)
        return result

    def test_asked_for_at_the_start(self) -> None:
        for options, env in (
            (["-X", "faulthandler"], {}),
            (["-X", "dev"], {}),
            ([], {"PYTHONFAULTHANDLER": "1"}),
            ([], {"PYTHONDEVMODE": "1"}),
        ):
            with self.subTest(options=options, env=env):
                self.check_both([*options, "-c", SEGV], env=env)

    def test_asked_for_by_the_program(self) -> None:
        self.check_both(["-c", "import faulthandler; faulthandler.enable()" + SEGV])
        self.check_both(["-c", "from faulthandler import enable; enable(2, True)" + SEGV])

    def test_every_fatal_signal(self) -> None:
        for signum in (signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
            with self.subTest(signum.name):
                result = self.check_dump(["-X", "faulthandler", "-c", KILL % signum], signum)
                self.assertEqual(result.crash, result.stderr)

    def test_a_file_of_the_program(self) -> None:
        path = str(self.folder / "own.log")
        # nobody keeps the file object but faulthandler
        enable = "import faulthandler, sys; faulthandler.enable(open(sys.argv[1], 'w'))"
        result = self.check_dump(["-c", enable + SEGV, path], signal.SIGSEGV)
        self.assertEqual(result.stderr, b"")
        self.assertEqual(Path(path).read_bytes(), result.crash)

    def test_every_kind_of_crash_output(self) -> None:
        for output in ("file", "socket", "fifo", "pty"):
            with self.subTest(output):
                self.check_both(["-X", "faulthandler", "-c", SEGV], output=output)

    def test_disabled_again(self) -> None:
        program = "import faulthandler; faulthandler.enable(); faulthandler.disable()" + SEGV
        result = self.check_dump(program, signal.SIGSEGV)
        self.assertEqual(result.stderr, b"")

    def test_the_programs_view(self) -> None:
        path = str(self.folder / "own.log")
        for options in ([], ["-X", "faulthandler"]):
            with self.subTest(options):
                self.check_silent([*options, "-c", VIEW, path])

    def test_forked_child(self) -> None:
        program = "import os\nif os.fork(): print(os.wait()[1])\nelse: os.kill(os.getpid(), 11)"
        result = self.run_both(["-X", "faulthandler", "-c", program])
        self.assertEqual(result.crash, result.stderr)
        self.assertIn("Segmentation fault", result.dump)

    def test_crash_output_turned_off(self) -> None:
        program = "import crashenv; crashenv.set_crash_output(None)" + SEGV
        result = self.run_with(["-X", "faulthandler", "-c", program])
        self.assertIn(b" in culprit\n", result.stderr)
        self.assertEqual(result.crash, b"")


@unittest.skipUnless(os.path.isdir("/proc/self"), "needs /proc")
@unittest.skipUnless(hasattr(os, "posix_spawn"), "needs os.posix_spawn")
class Relay(ProgramTest):
    """The process between faulthandler and two files."""

    def test_only_while_there_are_two(self) -> None:
        program = """
            import faulthandler, sys
            def step(): print('x', flush=True); sys.stdin.readline()
            step()
            faulthandler.enable(); step()
            faulthandler.disable(); step()
            """
        crash = CrashOutput("pipe")
        env = environment(PYDEBUG="crashfd=%d" % crash.passed)
        with started(program, env=env, pass_fds=[crash.passed]) as process:
            assert process.stdin is not None and process.stdout is not None
            for count in (0, 1, 0):
                process.stdout.readline()
                self.wait_for_relays(count, crash.passed)
                process.stdin.write(b"\n")
                process.stdin.flush()
            self.assertEqual(process.wait(), 0)
        self.assertEqual(crash.finish(), b"")

    def wait_for_relays(self, count: int, to: int) -> None:
        wait_until(lambda: len(relays(to)) == count, "%d relays" % count)

    def test_not_seen_by_wait_and_gone_with_the_program(self) -> None:
        program = """
            import os, signal, sys
            signal.signal(signal.SIGCHLD, lambda *_: print('SIGCHLD'))
            import faulthandler; faulthandler.enable()
            try: print(os.wait())
            except ChildProcessError: print('no child')
            print('x', flush=True); sys.stdin.readline()
            """
        without = run(program, input=b"\n")
        crash = CrashOutput("pipe")
        env = environment(PYDEBUG="crashfd=%d" % crash.passed)
        with started(program, env=env, pass_fds=[crash.passed]) as process:
            assert process.stdin is not None and process.stdout is not None
            printed = process.stdout.readline() + process.stdout.readline()
            self.assertEqual(printed, without.stdout)
            self.wait_for_relays(1, crash.passed)
            process.stdin.write(b"\n")
            process.stdin.flush()
            self.assertEqual(process.wait(), 0)
            self.wait_for_relays(0, crash.passed)
        self.assertEqual(crash.finish(), b"")

    def test_program_that_ignores_its_children(self) -> None:
        program = (
            "import faulthandler, signal\n"
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfaulthandler.enable()" + SEGV
        )
        result = self.check_dump(["-c", program], signal.SIGSEGV)
        self.assertEqual(result.crash, result.stderr)

    def test_survives_what_ends_a_session_and_holds_nothing_else(self) -> None:
        program = "import sys; print('x', flush=True); sys.stdin.readline()" + SEGV
        crash = CrashOutput("pipe")
        env = environment(PYDEBUG="crashfd=%d" % crash.passed)
        args = ["-X", "faulthandler", "-c", program]
        with started(args, env=env, pass_fds=[crash.passed], start_new_session=True) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            (relay,) = wait_until(lambda: relays(crash.passed), "the relay")
            wait_until(lambda: os.getsid(relay) != process.pid, "a session of its own")
            wait_until(lambda: os.readlink("/proc/%d/cwd" % relay) == "/", "the root folder")
            wait_until(
                lambda: {os.path.basename(f) for f in os.listdir("/proc/%d/fd" % relay)}
                == {"0", "1", "2", "3", "4"},
                "five descriptors",
            )
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                os.kill(relay, signum)
            process.stdin.write(b"\n")
            process.stdin.flush()
            self.assertEqual(process.wait(), -signal.SIGSEGV)
            self.assertIn(b" in culprit\n", process.stderr.read())
        self.assertIn(b" in culprit\n", crash.finish())

    def test_first_process_of_a_container_has_none(self) -> None:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
        try:
            subprocess.run([*unshare, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("needs unshare(1) and the right to make a PID namespace")
        program = """
            import faulthandler, os
            print(os.getpid())
            faulthandler.enable()
            try: os.wait()
            except ChildProcessError: print('no child', flush=True)
            import ctypes; ctypes.string_at(0)
            """
        result = self.run_both(program, launcher=unshare)
        self.assertEqual(result.stdout, b"1\nno child\n", str(result))
        self.assertIn(b"Segmentation fault", result.stderr)
        self.assertEqual(result.crash, b"")

    def test_does_not_make_a_dying_program_wait(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            pass
        env = environment(PYDEBUG="crashfd=%d" % writer)
        with started(["-X", "faulthandler", "-c", SEGV], env=env, pass_fds=[writer]) as process:
            before = time.monotonic()
            self.assertEqual(process.wait(), -signal.SIGSEGV)
            self.assertLess(time.monotonic() - before, 20)
        os.close(reader)
        os.close(writer)
