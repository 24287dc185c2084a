"""``crashenv run`` is not noticed: status, signals, descriptors and environment are the same."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from tests.driver import (
    DEADLINE,
    ROOT,
    SITECUSTOMIZE,
    MonitorTest,
    children,
    environment,
    importable,
    monitor,
    monitor_environment,
    needs_monitor,
    run,
    wait_until,
)

SRC = ROOT / "src" / "crashenv"
SH = "/bin/sh"
FATAL = ("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGPIPE", "SIGUSR1", "SIGSEGV", "SIGRTMIN")

# Prints each signal that it gets.
# The wakeup descriptor is used because a signal just before read(2) would not interrupt it.
LISTENING = """
    import os, select, signal
    woken, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
    os.write(1, b"ready\\n")
    data = b"something"
    while data:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 100)
        if 0 in ready:
            data = os.read(0, 4096)
            os.write(1, data)
"""


class EndingTest(MonitorTest):
    def test_status_is_the_programs(self) -> None:
        for status in (0, 1, 3, 127, 255):
            with self.subTest(status):
                result = self.run_monitored([SH, "-c", "exit %d" % status])
                self.assertEqual(result.status, status, str(result))
                self.assertEqual(result.stderr, b"")

    def test_monitor_dies_of_the_programs_signal(self) -> None:
        for name in FATAL:
            with self.subTest(name):
                number = getattr(signal, name)
                result = self.run_monitored([SH, "-c", "kill -%d $$" % number], "--quiet")
                self.assertEqual(result.status, -number, str(result))
                self.assertEqual(result.stderr, b"")

    def test_only_the_program_dumps_core(self) -> None:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text()
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        if pattern.startswith(("|", "/")) or hard == 0:
            self.skipTest("there are no core files here, or elsewhere")

        def allow() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

        program = [SH, "-c", "kill -SEGV $$"]
        process = subprocess.Popen(
            monitor("--quiet") + program, env=self.env, cwd=self.folder, preexec_fn=allow
        )
        _, status = os.waitpid(process.pid, 0)
        process.returncode = status
        self.assertEqual(os.WTERMSIG(status), signal.SIGSEGV)
        self.assertFalse(os.WCOREDUMP(status))
        self.assertIs(self.records()[0]["ending"]["core"], True)
        self.assertEqual(len(list(self.folder.glob("core*"))), 1)

    def test_not_found(self) -> None:
        for name in ("no-such-command", "/nonexistent/command", ""):
            with self.subTest(name):
                result = run([*monitor()[1:], name], env=self.env)
                self.assertEqual(result.status, 127, str(result))
                self.assertEqual(
                    result.stderr.decode(), "crashenv: %s: No such file or directory\n" % name
                )

    def test_not_executable(self) -> None:
        script = self.write("script", "#!/bin/sh\n")
        for path in (script, str(self.folder)):
            with self.subTest(path):
                result = run([*monitor()[1:], path], env=self.env)
                self.assertEqual(result.status, 126, str(result))
                self.assertEqual(result.stderr.decode(), "crashenv: %s: Permission denied\n" % path)

    def test_command_is_searched_for_like_in_a_shell(self) -> None:
        forbidden = self.folder / "forbidden"
        for folder in ("a", "b"):
            self.write(folder + "/tool", "#!/bin/sh\necho %s\n" % folder)
        os.chmod(self.folder / "b" / "tool", 0o755)
        path = "%s:%s/a:%s/b" % (forbidden, self.folder, self.folder)
        result = run([*monitor()[1:], "tool"], env={**self.env, "PATH": path})
        self.assertEqual((result.status, result.stdout), (0, b"b\n"), str(result))

    def test_script_without_an_interpreter_line_is_the_shells(self) -> None:
        script = self.write("script", "echo $0 $1\n")
        os.chmod(script, 0o755)
        result = self.run_monitored([script, "x"])
        self.assertEqual(result.stdout.decode(), "%s x\n" % script, str(result))

    def test_package_may_be_removed_meanwhile(self) -> None:
        copy = self.folder / "copy"
        shutil.copytree(SRC, copy / "crashenv")
        # Without files there, which could be created while the folder is removed.
        env = {**self.env, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        with self.started_monitored([SH, "-c", "echo ready; read x; kill -9 $$"], env=env) as p:
            assert p.stdin and p.stdout
            p.stdout.readline()
            shutil.rmtree(copy)
            _, stderr = p.communicate(b"\n")
        self.assertEqual(p.returncode, -signal.SIGKILL)
        self.assertRegex(stderr.decode(), r"\Acrashenv: cannot .*\n\Z")

    def test_monitor_that_cannot_start_says_so(self) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))

        result = self.run_monitored([SH, "-c", "echo never"], preexec_fn=limit)
        self.assertEqual((result.status, result.stdout), (125, b""), str(result))
        self.assertRegex(result.stderr.decode(), r"\Acrashenv: cannot start: .*\n\Z")

    def test_stderr_that_nobody_reads_does_not_hang_it(self) -> None:
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        try:
            while True:
                os.write(theirs, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(theirs, True)
        args = [*monitor(), SH, "-c", "kill -9 $$"]
        process = subprocess.Popen(args, env=self.env, stderr=theirs)
        try:
            self.assertEqual(process.wait(DEADLINE), -signal.SIGKILL)
        finally:
            os.close(ours)
            os.close(theirs)

    @needs_monitor
    def test_modules_of_the_program_are_not_the_monitors(self) -> None:
        for name in ("fcntl", "resource", "select", "_ctypes", "time"):
            self.write("app/%s.py" % name, "raise RuntimeError(__name__)\n")
        path = os.pathsep.join(filter(None, [str(self.folder / "app"), self.env.get("PYTHONPATH")]))
        for variables, cwd in (({"PYTHONPATH": path}, None), ({}, self.folder / "app")):
            with self.subTest(cwd):
                result = self.run_monitored(
                    [SH, "-c", "kill -9 $$"], "-q", env={**self.env, **variables}, cwd=cwd
                )
                self.assertEqual((result.status, result.stderr), (-signal.SIGKILL, b""))
        self.assertEqual([record["kind"] for record in self.records()], ["death"] * 2)

    def test_settings_of_the_program_are_not_the_monitors(self) -> None:
        crash = "%s/crash.%%p" % self.folder
        env = environment(**self.env)  # where the monitor's own interpreter is activated
        path = filter(None, [env.get("PYTHONPATH"), str(SITECUSTOMIZE), importable()])
        env.update(PYTHONPATH=":".join(path), PYDEBUG="crashfile=" + crash, PYTHONINSPECT="1")
        result = self.run_monitored([SH, "-c", "exit 3"], env=env)
        self.assertEqual((result.status, result.stdout, result.stderr), (3, b"", b""))
        self.assertEqual(list(self.folder.glob("crash.*")), [])

    def test_working_directory_may_be_gone(self) -> None:
        script = 'mkdir gone && cd gone && rmdir "$PWD" && exec "$@"'
        args = [SH, "-c", script, "sh", *monitor(), SH, "-c", "exit 4"]
        done = subprocess.run(args, env=self.env, cwd=self.folder, capture_output=True)
        self.assertEqual(done.returncode, 4, done.stderr)

    def test_needs_linux(self) -> None:
        program = """
            import sys
            sys.platform = "darwin"
            from crashenv.__main__ import main
            sys.exit(main(["run", "true"]))
        """
        result = run(program, env=self.env)
        self.assertEqual(result.status, 125)
        self.assertRegex(result.stderr, b"\\Acrashenv run: needs Linux or Windows\n", str(result))

    def test_needs_an_interpreter_that_can_wait_for_signals(self) -> None:
        program = """
            import _signal, sys
            vars(_signal).pop("sigwaitinfo", None)
            from crashenv.__main__ import main
            sys.exit(main(["run", "true"]))
        """
        result = run(program, env=self.env)
        self.assertEqual(result.status, 125)
        self.assertTrue(result.stderr.startswith(b"crashenv run: needs CPython: "), str(result))


class PassingTest(MonitorTest):
    def printed(self, program: str, *options: str, **others: object) -> str:
        result = self.run_monitored(program, *options, **others)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        return result.stdout.decode()

    def test_descriptor_is_a_pipe_that_leaves_low_numbers_free(self) -> None:
        program = """
            import os, stat
            number, device, inode, path = os.environ["PYDEBUG"].split(",")[0][8:].split(":")
            status = os.fstat(int(number))
            print(stat.S_ISFIFO(status.st_mode))
            opened = os.stat(path)
            print((status.st_dev, status.st_ino) == (int(device), int(inode)), int(number) >= 100)
            print((opened.st_dev, opened.st_ino) == (int(device), int(inode)))
            print(os.open("/dev/null", os.O_RDONLY))
        """
        self.assertEqual(self.printed(program), "True\nTrue True\nTrue\n3\n")

    def test_pipe_is_enlarged(self) -> None:
        program = """
            import fcntl, os
            print(fcntl.fcntl(int(os.environ["PYDEBUG"].split("=")[1].split(":")[0]), 1032))
        """
        most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
        self.assertEqual(int(self.printed(program)), min(1 << 20, most))

    def test_few_descriptors_are_enough(self) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))

        result = self.run_monitored("1/0", preexec_fn=limit)
        self.check_record("exception", result)

    def test_pydebug_keeps_what_it_held(self) -> None:
        program = [SH, "-c", 'echo "$PYDEBUG"']
        for before, kept in (
            ("", ""),
            ("other=1", "other=1,"),
            ("crashlimit=2K, crashthreads=fatal", "crashlimit=2K, crashthreads=fatal,"),
            ("crashlimit=2K,crashfile=/tmp/x", "crashlimit=2K,"),
            ("crashfd=9", ""),
        ):
            with self.subTest(before):
                # Without the warnings that the monitor's own interpreter prints.
                printed = self.run_monitored(program, env={**self.env, "PYDEBUG": before}).stdout
                place = r"/proc/\d+/fd/\d+"
                item = r"crashfd=1\d\d:\d+:\d+:%s,crashfamily=%s:\d+:\d+:%s:\d+:\d+"
                item += ",crashsignal=RTMAX"
                item %= place, place, place
                self.assertRegex(printed.decode(), r"\A%s%s\n\Z" % (kept, item))

    def test_pythonpath_keeps_what_it_held(self) -> None:
        program = [SH, "-c", 'echo "$PYTHONPATH"']
        before = self.env.get("PYTHONPATH", "")
        first, _, rest = self.run_monitored(program).stdout.decode().strip().partition(":")
        self.assertTrue(os.path.isfile(os.path.join(first, "sitecustomize.py")), first)
        self.assertEqual(rest, before)

    def test_program_without_crashenv_reports(self) -> None:
        script = self.write("app.py", "1/0\n")
        env = dict(self.env)
        result = self.run_monitored([sys.executable, "-s", script], env=env)
        self.check_record("exception", result)
        self.assertEqual(result.status, 1)

    def test_closed_standard_descriptors_stay_closed(self) -> None:
        program = """
            import os
            numbers = sorted(map(int, os.listdir("/proc/self/fd")))
            os.write(1 if CLOSED == 2 else 2, repr(numbers[:4]).encode())
        """
        for number in (0, 1, 2):
            for options in ((), ("--capture-stderr",)):
                with self.subTest(number, options=options):
                    source = program.replace("CLOSED", str(number))

                    def close(number: int = number) -> None:
                        os.close(number)

                    result = self.run_monitored(source, *options, preexec_fn=close)
                    # listdir's own descriptor takes the free number
                    listed = (result.stderr or result.stdout).decode()
                    self.assertEqual(listed, "[0, 1, 2, 100]", str(result))

    def test_signals_are_as_without(self) -> None:
        program = ["/bin/grep", "^Sig[IBC]", "/proc/self/status"]

        def ignore() -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})

        for prepare in (None, ignore):
            with self.subTest(prepare=prepare):
                without = subprocess.run(program, stdout=subprocess.PIPE, preexec_fn=prepare)
                result = self.run_monitored(program, preexec_fn=prepare)
                self.assertEqual(result.status, 0, str(result))
                self.assertEqual(result.stdout.decode(), without.stdout.decode())

    def test_monitor_holds_no_file_of_the_program(self) -> None:
        program = """
            import os, sys
            os.close(1)
            os.close(int(sys.argv[1]))
            sys.stdin.read()
        """
        ours, passed = os.pipe()
        script = self.write("program.py", program)
        with self.started_monitored(
            [sys.executable, script, str(passed)], pass_fds=[passed]
        ) as process:
            os.close(passed)
            assert process.stdout and process.stdin
            # Both end while the program runs.
            self.assertEqual(process.stdout.read(), b"")
            self.assertEqual(os.read(ours, 1), b"")
            os.close(ours)
            self.assertIsNone(process.poll())


class SignalTest(MonitorTest):
    def test_every_signal_reaches_the_program_once(self) -> None:
        numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        with self.started_monitored(LISTENING) as process:
            assert process.stdin and process.stdout
            self.assertEqual(process.stdout.readline(), b"ready\n")
            for number in sorted(numbers):
                process.send_signal(number)
                self.assertEqual(process.stdout.readline(), b"%d\n" % number)
            rest, _ = process.communicate(b"end\n")
            self.assertEqual((process.returncode, rest), (0, b"end\n"))  # nothing arrived twice

    def test_signal_of_the_program_to_its_group_does_not_come_back(self) -> None:
        program = """
            import os, signal, time
            got = []
            for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1):
                signal.signal(number, lambda number, frame: got.append(number))
                os.kill(0, number)
            # The monitor answers this one, and so has handled those before.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            os.system("kill -USR2 %d" % os.getppid())
            signal.sigwait([signal.SIGUSR2])
            print(len(got))
        """
        result = self.run_monitored(program, start_new_session=True)
        self.assertEqual((result.status, result.stdout), (0, b"3\n"), str(result))

    def test_alarm_set_before_reaches_the_program(self) -> None:
        # "perl -e 'alarm 5; exec @ARGV' COMMAND": execve(2) preserves timers.
        def prepare() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.3)

        result = self.run_monitored([SH, "-c", "read x"], preexec_fn=prepare, **self.silent_stdin())
        self.assertEqual(result.status, -signal.SIGALRM, str(result))

    def silent_stdin(self) -> dict[str, int]:
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        return {"stdin": ours}

    def test_broken_stderr_is_not_the_programs_affair(self) -> None:
        program = """
            import signal, sys, threading
            signal.signal(signal.SIGPIPE, lambda number, frame: print("got it"))
            threading.excepthook = lambda args: None
            t = threading.Thread(target=lambda: 1/0)
            t.start()
            t.join()
            print(input())
        """
        ours, theirs = os.pipe()
        os.close(ours)
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*monitor(), sys.executable, self.write("program.py", program)],
            env=self.env,
            stdin=pipe,
            stdout=pipe,
            stderr=theirs,
        )
        os.close(theirs)
        wait_until(self.records, "the record")
        stdout, _ = process.communicate(b"end\n")
        self.assertEqual((process.returncode, stdout), (0, b"end\n"))

    def test_stopped_program_does_not_stop_what_nobody_continues(self) -> None:
        # Its process group is orphaned, as in a container without a shell.
        with self.started_monitored(LISTENING, start_new_session=True) as process:
            assert process.stdout
            process.stdout.readline()
            child = children(process.pid)[0]
            process.send_signal(signal.SIGTSTP)  # caught by the program
            self.assertEqual(process.stdout.readline(), b"%d\n" % signal.SIGTSTP)
            os.kill(child, signal.SIGSTOP)
            wait_until(lambda: state(child) == "T", "the stop")
            process.send_signal(signal.SIGUSR1)
            os.kill(child, signal.SIGCONT)
            lines = {process.stdout.readline() for _ in range(2)}
            self.assertEqual(lines, {b"%d\n" % n for n in (signal.SIGUSR1, signal.SIGCONT)})
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.stdout.readline(), b"%d\n" % signal.SIGCONT)

    @unittest.skipUnless(platform.machine() == "x86_64", "knows system calls by x86-64's numbers")
    def test_idle_monitor_waits_without_a_timeout(self) -> None:
        sigtimedwait = "128"
        script = """
            import sys, threading
            t = threading.Thread(target=lambda: 1/0)
            t.start(); t.join()
            sys.stdin.read()
        """
        for program in (LISTENING, script):  # before and after a first report
            with self.started_monitored(program, "--capture-stderr") as process:

                def waits(pid: int = process.pid) -> bool:
                    fields = Path("/proc/%d/syscall" % pid).read_text().split()
                    return fields[0] == sigtimedwait and fields[3] == "0x0"

                wait_until(waits, "the wait")


class MonitorKilledTest(MonitorTest):
    PROGRAM = """
        import sys, threading
        print("ready", flush=True)
        sys.stdin.readline()
        t = threading.Thread(target=lambda: 1/0)
        t.start()
        t.join()
        print("still here", flush=True)
        sys.stdin.readline()
        print("until the end", file=sys.stderr, flush=True)
    """

    def test_program_runs_on(self) -> None:
        for options in ((), ("--capture-stderr",)):
            with self.subTest(options), self.started_monitored(self.PROGRAM, *options) as process:
                assert process.stdin and process.stdout and process.stderr
                process.stdout.readline()
                process.kill()
                process.wait()
                process.stdin.write(b"\n\n")
                process.stdin.flush()
                self.assertEqual(process.stdout.read(), b"still here\n")
                stderr = process.stderr.read().decode()
                self.assertIn("ZeroDivisionError", stderr)
                self.assertTrue(stderr.endswith("\nuntil the end\n"), stderr)

    def test_dump_into_the_broken_pipe_changes_nothing(self) -> None:
        program = """
            import os, sys
            print(os.getpid(), flush=True)
            sys.stdin.readline()
            os.abort()
        """
        with self.started_monitored(program) as process:
            assert process.stdin and process.stdout
            process.stdout.readline()
            process.kill()
            process.wait()
            process.stdin.write(b"\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.read(), b"")


class ArgumentsTest(MonitorTest):
    def test_options_of_the_command_are_its_own(self) -> None:
        result = run([*monitor()[1:-1], "echo", "--quiet", "--", "-h"], env=self.env)
        self.assertEqual(result.stdout, b"--quiet -- -h\n", str(result))

    def test_wrong_usage_is_one_line_and_status_125(self) -> None:
        for arguments, text in (
            ((), "no COMMAND to run"),
            (("--",), "no COMMAND to run"),
            (("--nonesuch", "true"), "there is no option --nonesuch"),
            (("--store",), "--store needs a value"),
            (("--store=", "true"), "--store: the name of the folder is empty"),
            (("--quiet=yes", "true"), "--quiet takes no value"),
            (("--max-records", "0", "true"), "'0' is not a positive number"),
            (("--max-size", "9T", "true"), "'9T' is not a positive number"),
            (("--on-crash", "'", "true"), "--on-crash ': No closing quotation"),
            (("--on-crash", "", "true"), "--on-crash: the command is empty"),
        ):
            with self.subTest(arguments):
                result = run([*monitor()[1:-1], *arguments], env=self.env)
                self.assertEqual(result.status, 125, str(result))
                self.assertEqual(result.stderr.decode().splitlines()[0], "crashenv run: " + text)

    def test_help_names_every_option_that_is_read(self) -> None:
        help = run([*monitor()[1:-1], "--help"], env=self.env)
        self.assertEqual((help.status, help.stderr), (0, b""))
        for name in ("--store DIR", "--on-crash PROGRAM", "--capture-stderr", "-q, --quiet"):
            self.assertIn(name, help.stdout.decode())
        self.assertLessEqual(max(map(len, help.stdout.decode().splitlines())), 90)

    def test_ctrl_c_at_start_prints_no_traceback(self) -> None:
        # Before it blocks signals, the monitor may be anywhere; here it is in an import.
        self.write("slow/crashenv/__init__.py", "__version__ = ''\n")
        slow = "import sys; print(flush=True); sys.stdin.read()\n"
        self.write("slow/crashenv/_monitor/__init__.py", slow)
        (self.folder / "slow" / "crashenv" / "_cli").mkdir()
        for name in ("__main__.py", "_cli/__init__.py"):
            shutil.copy(SRC / name, self.folder / "slow" / "crashenv" / name)
        env = monitor_environment(PYTHONPATH=str(self.folder / "slow"))
        with self.started_monitored([SH, "-c", ":"], env=env) as process:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate()
        self.assertEqual((process.returncode, stderr), (-signal.SIGINT, b""))


def state(pid: int) -> str:
    return Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0]


if __name__ == "__main__":
    unittest.main()
