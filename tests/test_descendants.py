"""Deaths of descendants below ``crashenv run``, and their last words."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.driver import MonitorTest, environment, importable, is_root, run, wait_until

BEGIN = """
import glob, os, signal, subprocess, sys, time
def wait_until_seen(pid):
    folder = os.environ["PYDEBUG"].partition("/proc/")[2].partition("/")[0]
    while True:
        for path in glob.glob("/proc/%s/fdinfo/*" % folder):
            try:
                if "\\nPid:\\t%d\\n" % pid in open(path).read(): return
            except OSError: pass
        time.sleep(0.01)
def start(source):
    child = subprocess.Popen([sys.executable, "-c", source + NOTE], stdin=-1, stdout=-1)
    child.stdout.readline()
    wait_until_seen(child.pid)
    return child
NOTE = '''
import sys
print("ready", flush=True)
sys.stdin.read()
'''
"""


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[Callable[[], None]]:
    """Make a cgroup of that many bytes, without swap; return a function that enters it."""
    folder = _new_cgroup(limit)
    members = folder / "cgroup.procs"

    def enter() -> None:
        members.write_text(str(os.getpid()))

    try:
        yield enter
    finally:
        wait_until(lambda: not members.read_text(), "an empty cgroup")
        folder.rmdir()


def _new_cgroup(limit: int) -> Path:
    """Make a cgroup, or raise SkipTest. Version 1 has its own hierarchy for memory."""
    for mount, name, swap, most in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", limit),
        ("/sys/fs/cgroup", "memory.max", "memory.swap.max", 0),
    ):
        folder = Path(mount, "crashenv-test-%d" % os.getpid())
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(limit))
        except OSError:  # the controller is not enabled there
            folder.rmdir()
            continue
        with contextlib.suppress(OSError):
            (folder / swap).write_text(str(most))
        return folder
    raise unittest.SkipTest("needs a memory cgroup that may be written to (cgroups(7))")


@unittest.skipUnless(hasattr(os, "pidfd_open"), "needs pidfd_open")
class Descendants(MonitorTest):
    def watched(self, source: str, *options: str) -> list[dict[str, Any]]:
        result = self.run_monitored(BEGIN + source, "--quiet", *options)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        return self.records()

    def test_killed(self) -> None:
        (record,) = self.watched(
            "child = start('import crashenv; crashenv.note(\"order 7\")')\n"
            "child.kill(); child.wait(); print(child.pid, os.getpid())"
        )
        self.assertEqual((record["kind"], record["summary"]), ("death", "killed by SIGKILL"))
        self.assertEqual(record["ending"]["signal"], "SIGKILL")
        self.assertEqual(record["last_words"], "order 7\n")
        self.assertEqual(record["command"][0], sys.executable)
        self.assertIn("order 7", record["command"][2])
        self.assertGreater(record["pid"], 1)
        self.assertGreater(record["parent"], 1)

    def test_native_crash_is_one_record_with_its_dump(self) -> None:
        for number in ("SIGSEGV", "SIGABRT", "SIGQUIT"):
            with self.subTest(number):
                for path in self.store.glob("*"):
                    path.unlink()
                (record,) = self.watched(
                    "child = start(''); child.send_signal(signal.%s); child.wait()" % number
                )
                self.assertEqual(record["ending"]["signal"], number)
                self.assertRegex(record["where"], r"<string>:[34] in <module>")
                self.assertEqual(len(record["dump"]["threads"]), 1)

    def test_each_of_several_gets_its_own_dump(self) -> None:
        records = self.watched(
            "source = 'def f%d(): print(flush=True); sys.stdin.read()\\nimport sys\\nf%d()'\n"
            "children = [start(source % (n, n)) for n in range(5)]\n"
            "for child in children: child.send_signal(signal.SIGSEGV); child.wait()\n"
        )
        self.assertEqual([record["kind"] for record in records], ["death"] * 5)
        for record in records:
            function = record["where"].rpartition(" ")[2]
            self.assertIn("def %s()" % function, record["command"][2])

    def test_forked_workers(self) -> None:
        records = self.watched(
            "import multiprocessing\n"
            "def work(): wait_until_seen(os.getpid()); os.kill(os.getpid(), signal.SIGKILL)\n"
            "context = multiprocessing.get_context('fork')\n"
            "for target in (work, print, work):\n"
            "    process = context.Process(target=target)\n"
            "    process.start()\n"
            "    process.join()\n"
        )
        self.assertEqual([record["summary"] for record in records], ["killed by SIGKILL"] * 2)
        self.assertNotEqual(records[0]["pid"], records[1]["pid"])

    def test_workers_are_named(self) -> None:
        source = (
            "def work(): wait_until_seen(os.getpid()); os.kill(os.getpid(), signal.SIGKILL)\n"
            "def exits(): os._exit(3)\n"
            "if __name__ == '__main__':\n"
            "    import multiprocessing\n"
            "    for method in ('fork', 'spawn', 'forkserver'):\n"
            "        for target in (work, print, exits):\n"
            "            kind = multiprocessing.get_context(method).Process\n"
            "            process = kind(target=target, name='my ' + method)\n"
            "            process.start()\n"
            "            process.join()\n"
        )
        script = self.write("app.py", BEGIN + source)
        result = self.run_monitored([sys.executable, script])
        self.assertEqual(result.status, 0, str(result))
        records = self.records()
        names = [record["process"] for record in records]
        self.assertEqual(names, ["my fork", "my spawn", "my forkserver"], str(result))
        for record in records:
            self.assertEqual(record["summary"], "killed by SIGKILL")
            text = "crashenv: killed by SIGKILL (%s, pid %d); " % (record["process"], record["pid"])
            self.assertIn(text, result.stderr.decode())

    def test_processor_time_of_one_that_was_not_reaped_yet(self) -> None:
        (record,) = self.watched(
            "child = start('sum(n * n for n in range(3_000_000))')\n"
            "child.kill(); os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)\n"
            "seen = [True]\n"
            "while seen:\n"  # until the monitor has closed its pidfd
            "    seen = []\n"
            "    folder = os.environ['PYDEBUG'].partition('/proc/')[2].partition('/')[0]\n"
            "    for path in glob.glob('/proc/%s/fdinfo/*' % folder):\n"
            "        try: seen += [1] * ('Pid:\\t%d\\n' % child.pid in open(path).read())\n"
            "        except OSError: pass\n"
        )
        self.assertGreater(record["ending"]["user_time"], 0)
        self.assertIn(", user 0.", record["text"])

    def test_worker_that_the_oom_killer_took(self) -> None:
        source = (
            "import multiprocessing, os, sys\n"
            "def eat():\n"
            "    import crashenv; crashenv.note('eating')\n"
            "    wait_until_seen(os.getpid())\n"
            "    kept = []\n"
            "    while True: kept.append(b'x' * (1 << 20) + bytes(len(kept)))\n"
            "def die(): wait_until_seen(os.getpid()); os.kill(os.getpid(), 9)\n"
            "for target in (eat, die):\n"
            "    worker = multiprocessing.get_context('fork').Process(target=target, name='w')\n"
            "    worker.start(); worker.join()\n"
            "os.kill(os.getpid(), 9)\n"
        )
        with memory_cgroup(64 << 20) as enter:
            self.run_monitored(BEGIN + source, "--quiet", preexec_fn=enter)
        killed, other, program = self.records()
        self.assertEqual(killed["summary"], "killed by SIGKILL from the OOM killer")
        self.assertEqual((killed["process"], killed["last_words"]), ("w", "eating\n"))
        self.assertEqual(killed["ending"]["oom_kills"], 1)
        self.assertEqual(killed["ending"]["cgroup_limit"], 64 << 20)
        self.assertGreater(killed["ending"]["cgroup_peak"] or 64 << 20, 32 << 20)
        for record in (other, program):  # the first record has counted it
            self.assertEqual(record["summary"], "killed by SIGKILL")

    def test_grandchildren_and_orphans(self) -> None:
        for parent in ("sys.stdin.read()", "os._exit(0)"):
            with self.subTest(parent):
                for path in self.store.glob("*"):
                    path.unlink()
                (record,) = self.watched(
                    "code = 'import os, sys, time; pid = os.fork()\\n'\n"
                    "code += 'while not pid: time.sleep(1)\\n'\n"
                    "code += 'print(pid, flush=True); %s'\n"
                    "child = subprocess.Popen([sys.executable, '-c', code], stdin=-1, stdout=-1)\n"
                    "pid = int(child.stdout.readline())\n"
                    "wait_until_seen(pid)\n"
                    "os.kill(pid, signal.SIGKILL)\n"
                    "child.communicate()" % parent
                )
                self.assertEqual(record["summary"], "killed by SIGKILL")

    def test_other_ends_are_no_crashes(self) -> None:
        records = self.watched(
            "run = lambda code: subprocess.run([sys.executable, '-c', code], stderr=-3)\n"
            "for code in ('pass', 'import os; os._exit(3)', 'import sys; sys.exit(1)',\n"
            '             \'import os; os.execv("/bin/true", ["true"])\',\n'
            "             'import os; os.fork() or os._exit(1)'): run(code)\n"
            "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):\n"
            "    child = start('import signal; signal.signal(2, signal.SIG_DFL)')\n"
            "    child.send_signal(number); child.wait()\n"
            "child = start(''); child.kill(); child.wait()"  # so that something is seen
        )
        self.assertEqual([record["summary"] for record in records], ["killed by SIGKILL"])

    def test_exception_is_one_record(self) -> None:
        (record,) = self.watched("subprocess.run([sys.executable, '-c', '1/0'], stderr=-3)")
        self.assertEqual(record["kind"], "exception")

    def test_where_nobody_tells_the_status(self) -> None:
        """On kernels before 6.15, if its parent has already reaped it."""
        source = (
            "from unittest import mock\n"
            "from crashenv._monitor import family\n"
            "mock.patch.object(family, 'status_of', lambda *_: None).start()\n"
            "import sys, crashenv.__main__\n"
            "sys.exit(crashenv.__main__.main())"
        )
        program = BEGIN + (
            "start('')\n"  # it is told to end below, with a clean exit
            "child = start('import crashenv; crashenv.note(str(\"x\"))')\n"
            "child.kill(); child.wait()\n"
            "run = lambda code: subprocess.run([sys.executable, '-c', code], stderr=-3)\n"
            "run('pass'); run('1/0'); run('import sys; sys.exit(2)')\n"
            "pid = os.fork()\n"
            "if not pid: wait_until_seen(os.getpid()); os._exit(0)\n"
            "os.waitpid(pid, 0)"
        )
        monitor = ["-c", source, "run", "--quiet", "--", sys.executable, "-c", program]
        result = run(monitor, env=self.env)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        records = {record["kind"]: record for record in self.records()}
        self.assertEqual(set(records), {"exception", "death"}, str(result))
        self.assertEqual(len(self.records()), 2)
        death = records["death"]
        self.assertEqual(death["summary"], "ended without a clean exit")
        self.assertEqual((death["ending"]["signal"], death["ending"]["status"]), (None, None))
        self.assertEqual(death["last_words"], "x\n")

    @unittest.skipUnless(is_root(), "needs root, to be another user")
    def test_another_user(self) -> None:
        become = "os.setgid(65534); os.setuid(65534)"
        source = "import os, subprocess, sys; %s; subprocess.check_call(sys.argv[1:])" % become
        if run(["-c", source, sys.executable, "-c", "pass"]).status:
            self.skipTest("needs an interpreter that every user may execute")
        self.check_silent_child(become, "")

    def test_another_pid_namespace(self) -> None:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*unshare, "true"], capture_output=True).returncode:
            self.skipTest("needs unshare(1) and the right to make a PID namespace")
        self.check_silent_child("", " ".join(unshare))

    def check_silent_child(self, before: str, launcher: str) -> None:
        """Check that a child that cannot open the monitor's files behaves as without a monitor."""
        child = "import sys; print('out'); print('err', file=sys.stderr); import crashenv\n"
        child += "crashenv.note('x'); 1/0"
        program = (
            "import os, subprocess, sys\n"
            "os.chdir('/')\n"
            "%s\n"
            "done = subprocess.run([*%r, sys.executable, '-c', %r])\n"
            "print(done.returncode)"
        ) % (before, launcher.split(), child)
        env = {**environment(), "PYTHONPATH": self.env.get("PYTHONPATH", "")}
        without = run(program, env={**env, "PYTHONPATH": importable()})
        result = self.run_monitored(program, "--quiet")
        self.assertIn(b"out\n1\n", result.stdout, str(result))
        self.assertEqual(result.ending(), without.ending(), "\n%s\n\n%s" % (without, result))
        self.assertEqual(self.records(), [])

    def test_program_has_last_words_too(self) -> None:
        source = "import crashenv, os\ncrashenv.note('over')\nos.kill(os.getpid(), 9)"
        self.run_monitored(source, "--quiet")
        (record,) = self.records()
        self.assertEqual(record["last_words"], "over\n")

    def test_log_handler(self) -> None:
        source = (
            "import crashenv, logging, os\n"
            "logging.getLogger().addHandler(crashenv.LogHandler())\n"
            "for n in range(2000): logging.warning('step %d', n)\n"
            "os.kill(os.getpid(), 9)"
        )
        self.run_monitored(source, "--quiet")
        (record,) = self.records()
        self.assertTrue(record["last_words"].endswith("step 1998\nstep 1999\n"))
        self.assertLessEqual(len(record["last_words"]), 4096)

    def test_page_of_a_dead_process_is_given_back(self) -> None:
        (record,) = self.watched(
            "child = start('import crashenv; crashenv.note(\"x\")')\n"
            "child.kill(); child.wait()\n"
            "import time; deadline = time.monotonic() + 20\n"
            "board = os.environ['PYDEBUG'].partition('crashfamily=')[2].split(':')[3]\n"
            "while os.stat(board).st_blocks and time.monotonic() < deadline: time.sleep(0.01)\n"
            "assert not os.stat(board).st_blocks"
        )
        self.assertEqual(record["last_words"], "x\n")


if __name__ == "__main__":
    unittest.main()
