"""Monitors that a program starts itself, and stacks of running programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import unittest
from typing import Any

from tests.driver import (
    DEADLINE,
    CommandTest,
    CrashOutput,
    children,
    environment,
    importable,
    run,
    split,
    wait_until,
)

needs_pidfd = unittest.skipUnless(hasattr(os, "pidfd_open"), "needs pidfd_open")


class Collect(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.env["PYTHONPATH"] = importable()

    def program(self, source: str, *arguments: str) -> Any:
        script = self.write("service.py", source)
        return run([script, str(self.store), *arguments], env=self.env)

    def kept(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.records()) >= count, "%d records" % count)
        return self.records()

    START = "import crashenv, os, sys\npid = crashenv.start_monitor(store=sys.argv[1])\n"

    def test_exception(self) -> None:
        result = self.program(self.START + "1/0")
        self.assertEqual(result.status, 1)
        (record,) = self.kept(1)
        self.assertEqual(record["summary"], "ZeroDivisionError: division by zero")
        self.assertIn("service.py", record["command"][1])

    @needs_pidfd
    def test_sigkill_of_the_program(self) -> None:
        result = self.program(self.START + "os.kill(os.getpid(), 9)")
        self.assertEqual(result.status, -9)
        (record,) = self.kept(1)
        self.assertEqual((record["kind"], record["summary"]), ("death", "killed by SIGKILL"))

    @needs_pidfd
    def test_native_crash_is_one_record(self) -> None:
        self.program(self.START + "os.abort()")
        (record,) = self.kept(1)
        self.assertEqual(record["kind"], "death")
        self.assertEqual(record["dump"]["signal"], "SIGABRT")
        self.assertEqual(record["where"], "service.py:3 in <module>")

    def test_clean_end_leaves_nothing(self) -> None:
        result = self.program(self.START + "print(pid)")
        self.assertEqual((result.status, result.stderr), (0, b""))
        pid = int(result.stdout)
        wait_until(lambda: not os.path.exists("/proc/%d" % pid) or is_zombie(pid), "its end")
        self.assertEqual(self.records(), [])

    def test_on_crash(self) -> None:
        source = (
            "import crashenv, sys\n"
            "hook = ['cp', '/dev/stdin', sys.argv[2]]\n"
            "crashenv.start_monitor(store=sys.argv[1], on_crash=hook)\n"
            "1/0"
        )
        path = self.folder / "given.json"
        self.program(source, str(path))
        wait_until(lambda: path.exists() and path.stat().st_size, "the hook")
        wait_until(lambda: path.read_bytes().endswith(b"\n"), "all of it")
        self.assertEqual(json.loads(path.read_bytes())["kind"], "exception")

    def test_program_goes_on_printing_as_before(self) -> None:
        with_monitor = self.program(self.START + "print('out'); print('err', file=sys.stderr)")
        self.assertEqual(with_monitor.stdout, b"out\n")
        self.assertEqual(with_monitor.stderr, b"err\n")

    def test_signals_to_the_group_do_not_end_it(self) -> None:
        source = self.START + "os.kill(0, 15)"
        script = self.write("service.py", source)
        command = [sys.executable, script, str(self.store)]
        subprocess.run(command, env=self.env, start_new_session=True, timeout=DEADLINE)
        self.program(self.START + "1/0")
        self.kept(1)

    def test_command(self) -> None:
        command = 'PYDEBUG=crashfd=3 "$0" -c 1/0 3>&1 >&2 | "$0" -m crashenv collect --store "$1"'
        args = ["/bin/sh", "-c", command, sys.executable, str(self.store)]
        env = activating()
        subprocess.run(args, env=env, stderr=subprocess.DEVNULL, timeout=DEADLINE)
        (record,) = self.kept(1)
        self.assertEqual(record["kind"], "exception")


def activating() -> dict[str, str]:
    """Return an environment in which each interpreter activates crashenv and can import it."""
    found = environment()
    paths = found.get("PYTHONPATH", ""), importable()
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def is_zombie(pid: int) -> bool:
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


LOOP = """
import sys, threading
def waiting(): sys.stdin.read()
thread = threading.Thread(target=waiting)
thread.start()
print("ready", flush=True)
thread.join()
"""


class Stacks(CommandTest):
    def test_under_a_monitor(self) -> None:
        with self.started_monitored(LOOP) as process:
            assert process.stdout is not None
            process.stdout.readline()
            (pid,) = children(process.pid)
            for _ in range(2):
                shown = self.check_output("dump", str(pid))
                self.assertIn("in waiting", shown)
                self.assertIn("Current thread 0x", shown)
            process.communicate()
            self.assertEqual(process.returncode, 0)

    def test_with_a_file(self) -> None:
        path = self.folder / "crash.log"
        settings = "crashfile=%s,crashsignal=USR1" % path
        env = environment(PYDEBUG=settings)
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            self.assertIn("in waiting", self.check_output("dump", str(process.pid)))
            process.communicate(timeout=DEADLINE)
            self.assertEqual(process.returncode, 0)
        finally:
            process.kill()
            process.communicate()

    def test_who_cannot_be_asked(self) -> None:
        sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
        try:
            text = self.check_complaint("dump", str(sleeper.pid), status=1)
            self.assertIn("was started without crashsignal", text)
            sleeper.communicate(timeout=DEADLINE)
            self.assertEqual(sleeper.returncode, 0)
        finally:
            sleeper.kill()
            sleeper.communicate()
        self.assertIn("No such", self.check_complaint("dump", "4194305", status=1))
        self.check_complaint("dump", "x", status=2)

    def test_signal_that_nobody_catches_is_not_sent(self) -> None:
        env = {**self.env, "PYDEBUG": "crashfd=2,crashsignal=USR1"}
        sleeper = subprocess.Popen(["/bin/cat"], env=env, stdin=-1)
        try:
            text = self.check_complaint("dump", str(sleeper.pid), status=1)
            self.assertIn("does not catch", text)
            self.assertIsNone(sleeper.poll())
        finally:
            sleeper.kill()
            sleeper.communicate()

    def test_program_that_does_not_obey_sigterm(self) -> None:
        source = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LOOP
        with self.started_monitored(source, "--quiet", "--dump-on-term", "0.1") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            (record,) = wait_until(self.records, "the dump")
            self.assertEqual(record["kind"], "dump")
            self.assertIn("in waiting", record["text"])
            process.communicate()
            self.assertEqual(process.returncode, 0)

    def test_program_that_obeys_is_not_asked(self) -> None:
        with self.started_monitored(LOOP, "--quiet", "--dump-on-term", "30") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            # Before its standard input is closed, which would also end it.
            self.assertEqual(process.wait(DEADLINE), -signal.SIGTERM)
            process.communicate()
        self.assertEqual(self.records(), [])


class Earlier(CommandTest):
    """A crash output that is set already gets its reports under a monitor too."""

    def test_descriptor_and_file(self) -> None:
        output = CrashOutput("pipe")
        env = {**self.env, **activating(), "PYDEBUG": "crashfd=%d" % output.passed}
        self.run_monitored("1/0", "--quiet", env=env, pass_fds=[output.passed])
        (report,) = split(output.finish())[0]
        self.assertIn("ZeroDivisionError", report.body)
        path = self.folder / "crash.log"
        for name in ("crash.log", "crash.%p.log"):
            env = {**self.env, **activating(), "PYDEBUG": "crashfile=%s" % (path.parent / name)}
            self.run_monitored("1/0", "--quiet", env=env)
            (file,) = self.folder.glob("crash*.log")
            (report,) = split(file.read_bytes())[0]
            self.assertEqual(name.replace("%p", report.fields["pid"]), file.name)
            file.unlink()
        self.assertEqual(len(self.records()), 3)

    def test_monitor_in_a_monitor(self) -> None:
        inner = self.folder / "inner"
        args = ["-m", "crashenv", "run", "--quiet", "--store", str(inner), "--"]
        command = [sys.executable, *args, sys.executable, "-c", "1/0"]
        self.run_monitored(command, "--quiet", env={**self.env, **activating()})
        self.assertEqual([record["kind"] for record in self.records()], ["exception"])
        (record,) = (json.loads(path.read_bytes()) for path in inner.glob("*.json"))
        self.assertEqual(record["kind"], "exception")


if __name__ == "__main__":
    unittest.main()
