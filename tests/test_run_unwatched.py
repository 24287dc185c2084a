"""``crashenv run`` says if another launcher keeps a Python program from being watched."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
import venv
from pathlib import Path
from unittest import mock

from tests.driver import (
    DEADLINE,
    INSTALLED,
    ROOT,
    MonitorTest,
    Result,
    needs_monitor,
    run,
    wait_until,
)

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

# As opentelemetry-instrument: its own folder comes first, and it runs no other.
LAUNCHER = """
import os, sys
path = os.environ["PYTHONPATH"]
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__)) + os.pathsep + path
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
PASSES_ON = """
import sys
sys.path.remove(%r)
del sys.modules["sitecustomize"]
import sitecustomize
"""
# The monitor checks after 30 ms, and then less and less often.
APP = """
import sys, time
end = time.monotonic() + 0.7
while time.monotonic() < end: time.sleep(0.1)
"""


@needs_monitor
class Unwatched(MonitorTest):
    """The programs run in a virtual environment that has no crashenv."""

    python: str

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        venv.EnvBuilder(symlinks=True).create(folder.name)
        cls.python = str(Path(folder.name, "bin", "python"))

    def setUp(self) -> None:
        super().setUp()
        self.launcher = self.write("agent/launch.py", LAUNCHER)
        self.hiding = self.write("agent/sitecustomize.py", "")
        self.app = self.write("app.py", APP + "1/0")

    def told(self, result: Result) -> list[str]:
        lines = result.stderr.decode().splitlines()
        return [line for line in lines if "is not watched" in line]

    def test_launcher_that_hides_ours(self) -> None:
        result = self.run_monitored([self.python, self.launcher, self.app])
        self.assertEqual(result.status, 1)
        (line,) = self.told(result)
        self.assertRegex(line, r"\Acrashenv: app\.py \(pid \d+\) is not watched: ")
        self.assertIn("%s hides crashenv's" % self.hiding, line)
        self.assertEqual(self.records(), [])

    def test_descendants_are_told_once(self) -> None:
        source = "import subprocess, sys\nfor n in range(2): subprocess.run(sys.argv[1:])"
        program = [self.python, "-c", source, self.python, self.launcher, self.app]
        result = self.run_monitored(program)
        self.assertEqual(len(self.told(result)), 1, str(result))

    def test_descendant_that_ended_well_is_not_told_of(self) -> None:
        clean = self.write("clean.py", APP)
        source = "import subprocess, sys, time\nsubprocess.run(sys.argv[1:])\ntime.sleep(1.5)"
        program = [self.python, "-c", source, self.python, self.launcher, clean]
        with_patience = "from crashenv._monitor import unwatched; unwatched._PATIENCE = 1.0; "
        start = with_patience + "import sys, crashenv.__main__; sys.exit(crashenv.__main__.main())"
        result = run(["-c", start, "run", "--", *program], env=self.env)
        self.assertEqual((result.status, self.told(result)), (0, []), str(result))

    def test_replaced_path(self) -> None:
        result = self.run_monitored(["env", "PYTHONPATH=src", self.python, self.app])
        (line,) = self.told(result)
        self.assertIn("PYTHONPATH was replaced", line)

    def test_no_false_alarm(self) -> None:
        clean = self.write("clean.py", APP)
        child = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        for program in (
            [self.python, self.app],
            [self.python, self.launcher, clean],
            [self.python, "-c", child, "sleep", "0.5"],
            [self.python, "-c", APP + "import os; os._exit(3)"],
            [self.python, "-c", "import os; os.execvp('sh', ['sh', '-c', 'sleep 0.5; exit 3'])"],
            ["sh", "-c", "sleep 0.5; exit 3"],
            ["env", "PYTHONPATH=src", "sh", "-c", "sleep 0.5; exit 3"],
            ["env", "PYTHONPATH=src", self.python, "-I", self.app],
            ["env", "-i", self.python, self.app],
            ["env", "PYTHONPATH=%s" % (self.folder / "agent"), "PYDEBUG=1", self.python, self.app],
        ):
            with self.subTest(program):
                self.assertEqual(self.told(self.run_monitored(program)), [])

    def test_launcher_that_runs_the_next_one(self) -> None:
        self.write("agent/sitecustomize.py", PASSES_ON % str(self.folder / "agent"))
        result = self.run_monitored([self.python, self.launcher, self.app])
        self.assertEqual(self.told(result), [])
        self.check_record("exception", result)

    def test_program_that_goes_on_is_told_of(self) -> None:
        from crashenv import _parent
        from crashenv._monitor import unwatched

        ours, passed = _parent.open_pair()
        path = "/proc/%d/fd/%d" % (os.getpid(), ours)
        env = _parent.environment(passed, self.env, path)
        env["PYTHONPATH"] = str(self.folder / "agent")
        child = subprocess.Popen(
            [self.python, "-c", "import sys; sys.stdin.read()"],
            env=env,
            pass_fds=[passed],
            stdin=subprocess.PIPE,
        )
        watch = unwatched.Unwatched(ours, passed)
        watch.add(child.pid)
        said = io.StringIO()
        with mock.patch.object(unwatched, "say", lambda text: print(text, file=said)):
            with mock.patch.object(unwatched, "_PATIENCE", 0):

                def is_told() -> bool:
                    watch.look()
                    return bool(said.getvalue())

                wait_until(is_told, "the line")
                watch.add(child.pid)
                watch.ended(child.pid)
        child.communicate(timeout=DEADLINE)
        for fd in (ours, passed):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.assertEqual(said.getvalue().count("is not watched"), 1, said.getvalue())
        self.assertEqual(watch.timeouts(), [])

    def test_looks_come_to_an_end(self) -> None:
        from crashenv import _parent
        from crashenv._monitor import unwatched

        ours, passed = _parent.open_pair()
        watch = unwatched.Unwatched(ours, passed)
        watch.add(os.getpid())
        with mock.patch.object(unwatched, "_LAST", 0.2):
            looks = 0

            def is_over() -> bool:
                nonlocal looks
                looks += bool(watch.timeouts() and min(watch.timeouts()) == 0)
                watch.look()
                return not watch.timeouts()

            wait_until(is_over, "the last look")
        self.assertLess(looks, 20)
        os.close(ours)
        os.close(passed)


if __name__ == "__main__":
    unittest.main()
