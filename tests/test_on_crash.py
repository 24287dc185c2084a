"""``--on-crash``: the user's program gets each record, and cannot do any harm."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import unittest
from unittest import mock

from tests.driver import INSTALLED, ROOT, MonitorTest, Result, children, wait_until

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
from crashenv._monitor import hooks, program, receivers
from crashenv._reading import build

CRASHES = """
    import threading
    for n in range(3):
        t = threading.Thread(target=lambda: 1/0)
        t.start()
        t.join()
    raise ValueError("boom")
"""


class OnCrashTest(MonitorTest):
    def run_hook(self, program: str, hook: str, *words: str) -> Result:
        """Run with a hook of source ``hook``, in a folder with a space in its name."""
        path = self.write("a folder/hook.py", hook)
        setting = "%s '%s' %s" % (sys.executable, path, " ".join(words))
        return self.run_monitored(program, "--quiet", "--on-crash", setting)

    def failures(self, result: Result) -> list[str]:
        lines = result.stderr.decode().splitlines()
        prefix = "crashenv: --on-crash %s: " % sys.executable
        return [line[len(prefix) :] for line in lines if line.startswith("crashenv: --on-crash")]

    def test_gets_the_record_and_the_words(self) -> None:
        hook = """
            import json, os, sys
            out = {"in": sys.stdin.read(), "argv": sys.argv[1:], "env": dict(os.environ)}
            with open(sys.argv[0] + ".out", "w") as file:
                json.dump(out, file)
        """
        result = self.run_hook("raise ValueError('boom')", hook, "'two words'", "\\$HOME", ";")
        (record,) = self.records()
        given = json.loads((self.folder / "a folder" / "hook.py.out").read_text())
        self.assertEqual(given["argv"], ["two words", "$HOME", ";"])
        self.assertEqual(given["in"].count("\n"), 1)
        ending = record.pop("ending")  # it is not known yet when the hook runs
        self.assertEqual((json.loads(given["in"]), ending["status"]), (record, 1))
        variables = {k: v for k, v in given["env"].items() if k.startswith("CRASHENV_")}
        (path,) = self.store.iterdir()
        self.assertEqual(
            variables,
            {
                "CRASHENV_ID": record["id"],
                "CRASHENV_KIND": "exception",
                "CRASHENV_SUMMARY": "ValueError: boom",
                "CRASHENV_PROGRAM": "-c",
                "CRASHENV_FILE": str(path),
            },
        )
        self.assertEqual(self.failures(result), [])

    def test_one_at_a_time(self) -> None:
        hook = """
            import os, sys, time
            lock = sys.argv[0] + ".lock"
            os.mkdir(lock)
            time.sleep(0.05)
            os.rmdir(lock)
            with open(sys.argv[0] + ".out", "a") as file:
                print(os.environ["CRASHENV_ID"], file=file)
        """
        result = self.run_hook(CRASHES, hook)
        self.assertEqual(self.failures(result), [], str(result))
        ids = (self.folder / "a folder" / "hook.py.out").read_text().split()
        self.assertEqual(ids, [record["id"] for record in self.records()])
        self.assertEqual(len(ids), 4)

    def test_its_own_crash_stays_out_of_the_pipe(self) -> None:
        result = self.run_hook("1/0", "import os; os.environ.get('PYDEBUG') and print(1); 1/0")
        self.assertEqual(len(self.records()), 1)
        self.assertEqual(self.failures(result), ["exit status 1"])
        self.assertEqual(result.stdout, b"")

    def test_failure_is_one_line(self) -> None:
        text = self.write("text", "")
        for hook, message in (
            ("/nonexistent/hook", "not found"),
            (text, "not executable"),
            ("false", "exit status 1"),
            ("sh -c 'kill $$'", "ended by signal 15"),
        ):
            with self.subTest(hook):
                result = self.run_monitored("1/0", "--quiet", "--on-crash", hook)
                lines = result.stderr.decode().splitlines()
                self.assertEqual(
                    lines[-1], "crashenv: --on-crash %s: %s" % (hook.split()[0], message)
                )
                self.assertEqual(lines[-2], "ZeroDivisionError: division by zero")
                self.assertEqual(result.status, 1)

    def test_what_it_prints_is_not_the_programs_stdout(self) -> None:
        result = self.run_monitored("print('out'); 1/0", "--on-crash", "echo from the hook")
        self.assertEqual(result.stdout, b"out\n")
        self.assertIn(b"from the hook\n", result.stderr)

    def test_record_larger_than_a_pipe(self) -> None:
        result = self.run_hook(
            "raise ValueError('x' * 500_000)",
            "import sys; print(len(sys.stdin.read()), file=sys.stderr)",
        )
        self.assertGreater(int(result.stderr.split()[-1]), 500_000)

    def test_hook_that_reads_nothing(self) -> None:
        result = self.run_monitored("raise ValueError('x' * 500_000)", "--on-crash", "true")
        self.assertEqual(result.status, 1)
        self.assertEqual(self.failures(result), [])

    def test_runs_when_nothing_can_be_stored(self) -> None:
        hook = """sh -c 'echo "got $CRASHENV_KIND <$CRASHENV_FILE>"'"""
        result = self.run_monitored("1/0", "--store", "/dev/null/x", "--on-crash", hook)
        self.assertIn(b"got exception <>\n", result.stderr)

    def test_signal_to_end_ends_the_wait_for_it(self) -> None:
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        hook = self.write("hook", "#!/bin/sh\necho $$ >%s; read x <%s\n" % (fifo, fifo))
        os.chmod(hook, 0o755)
        with self.started_monitored("1/0", "--quiet", "--on-crash", hook) as process:
            pid = int(fifo.read_text())
            wait_until(lambda: children(process.pid) == [pid], "the program's end")
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate()
        self.assertEqual(process.returncode, 1)
        last = stderr.decode().splitlines()[-1]
        self.assertEqual(last, "crashenv: --on-crash %s: was still running" % hook)
        wait_until(lambda: not is_alive(pid), "the hook's end")

    def test_ctrl_c_is_not_for_it(self) -> None:
        """It has a process group of its own."""
        hook = "import os; print(os.getpgrp() == os.getpid(), end='')"
        path = self.write("hook.py", hook)
        result = self.run_monitored("1/0", "-q", "--on-crash", "%s %s" % (sys.executable, path))
        self.assertTrue(result.stderr.endswith(b"True"), str(result))


class TimeLimitTest(unittest.TestCase):
    """With a limit shorter than 30 seconds."""

    def setUp(self) -> None:
        said = mock.patch.object(hooks, "say")
        limit = mock.patch.object(hooks, "LONGEST", 0.05)
        self.said = said.start()
        limit.start()
        self.addCleanup(said.stop)
        self.addCleanup(limit.stop)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        self.hook = hooks.Hook(["sh", "-c", "sleep 60 & sleep 60"], program.Dispositions())

    def test_hook_and_what_it_started_are_killed(self) -> None:
        self.take(1)
        group = self.hook._pid
        self.assertIsNotNone(self.hook.deadline)
        while self.hook._pid:
            if self.hook.deadline is not None and self.hook.deadline <= time.monotonic():
                self.hook.work()
            pid, status = os.waitpid(group, os.WNOHANG)
            if pid:
                self.hook.child_ended(pid, status)
            time.sleep(0.001)
        self.said.assert_called_once_with("--on-crash sh: took more than 0 s")
        wait_until(lambda: not is_alive(group), "the end of its group")

    def test_too_many_that_wait_are_counted(self) -> None:
        self.take(100)
        self.hook.finish(lambda is_done, longest: False)
        os.waitpid(self.hook._pid, 0)
        self.said.assert_called_with("--on-crash sh: was not run for 99 crashes")

    def take(self, times: int) -> None:
        record = build.death(1, "", "", "killed\n")
        for _ in range(times):
            self.hook.take(record, b"", "")


class ReceiversTest(unittest.TestCase):
    """A receiver of the records cannot make the monitor fail."""

    def setUp(self) -> None:
        said = mock.patch.object(receivers, "say")
        self.said = said.start()
        self.addCleanup(said.stop)

    def test_what_one_raises_is_said_and_the_others_get_theirs(self) -> None:
        bad, good = mock.Mock(deadline=None), mock.Mock(deadline=None)
        all_of_them = receivers.Receivers([lambda _: bad, lambda _: good], mock.Mock())
        record = build.death(1, "", "", "killed\n")
        for name, arguments in (
            ("take", (record, b"", "")),
            ("child_ended", (1, 2)),
            ("finish", (mock.Mock(),)),
        ):
            with self.subTest(name):
                getattr(bad, name).side_effect = RuntimeError(name)
                getattr(all_of_them, name)(*arguments)
                getattr(good, name).assert_called_once_with(*arguments)
                self.assertIn("RuntimeError(%r)" % name, self.said.call_args[0][0])
        self.assertEqual(self.said.call_count, 3)

    def test_work_that_fails_is_not_called_again(self) -> None:
        bad, good = mock.Mock(deadline=0.0), mock.Mock(deadline=0.0)
        bad.work.side_effect = RuntimeError
        later = mock.Mock(deadline=time.monotonic() + 1000)
        makers = [lambda _, one=one: one for one in (bad, good, later)]
        all_of_them = receivers.Receivers(makers, mock.Mock())
        all_of_them.work()
        all_of_them.work()
        self.assertEqual((bad.work.call_count, good.work.call_count), (1, 2))
        later.work.assert_not_called()
        self.assertEqual(all_of_them.deadlines(), [0.0, later.deadline])

    def test_one_that_cannot_be_made_is_left_out(self) -> None:
        make = mock.Mock(side_effect=OSError("no"))
        all_of_them = receivers.Receivers([make], mock.Mock())
        all_of_them.take(build.death(1, "", "", "killed\n"), b"", "")
        self.said.assert_called_once_with("cannot start a receiver of the records: OSError('no')")


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    unittest.main()
