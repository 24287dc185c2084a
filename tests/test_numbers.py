"""``crashenv run --metrics``, ``--junit`` and ``--summary``: files for monitoring and CI."""

from __future__ import annotations

import os
import re
import stat
import sys
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path

from tests.driver import MonitorTest, Result, wait_until

RAISES = "raise ValueError('of a <test>')"
HOSTILE = r"""
class Odd(Exception): pass
raise Odd('"\\<b>|`</pre></details>]]>&\x00\x1b\ud800 @you #1 http://x.example '
          'password=hunter22\n| a |')
"""
TWO_THREADS = """
import threading
for name in ("a", "b"):
    thread = threading.Thread(target=lambda: [][0], name=name)
    thread.start()
    thread.join()
"""


class FileTest(MonitorTest):
    option = ""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "file.prom"

    def written(self, program: str | list[str], *options: str, status: int = 1) -> str:
        result = self.run_monitored(program, "-q", self.option, str(self.path), *options)
        self.assertEqual(result.status, status, str(result))
        self.assertNotIn(b"crashenv:", result.stderr, str(result))
        return self.path.read_text("utf-8") if self.path.exists() else ""

    def unwritable(self) -> Result:
        return self.run_monitored(RAISES, "-q", self.option, str(self.folder / "no" / "file"))


class Metrics(FileTest):
    option = "--metrics"

    def values(self, text: str) -> dict[str, float]:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines)}

    def test_no_crash(self) -> None:
        values = self.values(self.written("pass", status=0))
        self.assertEqual(values["crashenv_reports_lost_total"], 0)
        self.assertFalse([name for name in values if name.startswith("crashenv_crashes")])

    def test_crashes_by_kind_signal_and_program(self) -> None:
        path = self.write("app.py", "import os\nos.kill(os.getpid(), 9)\n")
        values = self.values(self.written([sys.executable, path], status=-9))
        name = 'crashenv_crashes_total{kind="death",signal="SIGKILL",program="app.py"}'
        self.assertEqual(values[name], 1)
        last = values['crashenv_last_crash_timestamp_seconds{program="app.py"}']
        self.assertAlmostEqual(last, os.stat(self.path).st_mtime, delta=60)

    def test_counters_go_on_after_a_restart(self) -> None:
        for count in (1, 2, 3):
            values = self.values(self.written([sys.executable, self.write("a.py", RAISES)]))
            name = 'crashenv_crashes_total{kind="exception",signal="",program="a.py"}'
            self.assertEqual(values[name], count)

    def test_while_the_program_runs(self) -> None:
        source = TWO_THREADS + "import time\ntime.sleep(60)\n"
        options = ("-q", "--metrics", str(self.path))
        with self.started_monitored(source, *options) as process:
            name = 'crashenv_crashes_total{kind="thread",signal="",program="-c"} 2\n'
            wait_until(lambda: self.path.exists() and name in self.path.read_text("utf-8"))
            self.assertIsNone(process.poll())
            process.terminate()
            process.communicate(timeout=60)

    def test_cut_reports_are_counted(self) -> None:
        program = "raise ValueError('x' * 3_000_000)"
        self.assertEqual(self.values(self.written(program))["crashenv_reports_cut_total"], 1)

    def test_a_store_that_keeps_nothing(self) -> None:
        path = self.write("store", "")
        result = self.run_monitored(RAISES, "--metrics", str(self.path), "--store", path)
        self.assertIn(b"cannot store", result.stderr)
        values = self.values(self.path.read_text("utf-8"))
        self.assertEqual(values["crashenv_reports_unkept_total"], 1)

    def test_others_may_read_it_and_nothing_else_is_left(self) -> None:
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.written(RAISES)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)
        self.assertEqual(list(self.folder.glob("*.unfinished")), [])

    def test_what_is_no_file_of_ours_is_replaced(self) -> None:
        for content in (b"\xff\x00 nan\n", b"crashenv_crashes_total{ 1e400\nx", b"\n\n 7\n"):
            self.path.write_bytes(content)
            values = self.values(self.written(RAISES))
            self.assertTrue(all(re.match("crashenv_", name) for name in values), values)

    def test_name_of_a_program_cannot_forge_a_number(self) -> None:
        path = self.write('a"} 7\nx{y="\\.py', RAISES)
        values = self.values(self.written([sys.executable, path]))
        self.assertEqual({value for name, value in values.items() if "_crashes_" in name}, {1})

    def test_unwritable(self) -> None:
        result = self.unwritable()
        self.assertEqual(result.status, 1)
        self.assertIn(b"No such file or directory", result.stderr)
        self.assertIn(b"ValueError: of a <test>", result.stderr)


class JUnit(FileTest):
    option = "--junit"

    def suite(self, text: str) -> ElementTree.Element:
        (suite,) = ElementTree.fromstring(text.encode())
        cases = suite.findall("testcase")
        self.assertEqual(suite.get("tests"), str(len(cases)))
        self.assertEqual(suite.get("errors"), str(len(cases)))
        return suite

    def test_one_case_for_each_crash(self) -> None:
        suite = self.suite(self.written(TWO_THREADS, status=0))
        errors = [case[0] for case in suite.findall("testcase")]
        self.assertEqual([error.get("type") for error in errors], ["IndexError"] * 2)
        self.assertIn("list index out of range", errors[0].text or "")

    def test_no_crash_is_no_case(self) -> None:
        self.assertEqual(len(self.suite(self.written("pass", status=0)).findall("testcase")), 0)

    def test_hostile_text(self) -> None:
        suite = self.suite(self.written(HOSTILE))
        (case,) = suite.findall("testcase")
        self.assertIn("</pre></details>]]>&", case[0].text or "")
        self.assertNotIn("hunter22", ElementTree.tostring(suite, "unicode"))

    def test_unwritable(self) -> None:
        result = self.unwritable()
        self.assertEqual(result.status, 1)
        self.assertIn(b"crashenv: cannot write", result.stderr)


class Summary(FileTest):
    option = "--summary"

    def test_appended(self) -> None:
        self.path.write_text("before\n")
        text = self.written(TWO_THREADS, status=0)
        self.assertTrue(text.startswith("before\n\n### 2 crashes\n"), text)
        self.assertIn("\n| 2 | IndexError", text)
        self.assertEqual(text.count("<details>"), 1)
        self.assertIn("Traceback (most recent call last):", text)

    def test_nothing_without_a_crash(self) -> None:
        self.assertEqual(self.written("pass", status=0), "")

    def test_hostile_text(self) -> None:
        text = self.written(HOSTILE)
        self.assertEqual(text.count("</pre>"), 1)
        self.assertEqual(text.count("</details>"), 1)
        self.assertNotIn("hunter22", text)
        table = [line for line in text.splitlines() if line.startswith("| 1 ")]
        self.assertEqual(len(table), 1, text)
        self.assertEqual(table[0].count("|"), 5)
        self.assertNotRegex(table[0], r"[@`<\[]")
        self.assertIn("</pre></details>]]>&", unescape(table[0]))

    def test_no_more_than_is_shown(self) -> None:
        source = "import threading\nfor n in range(60):\n"
        source += "    text = 'def f%d(): raise ValueError(\"<\" * 20000)' % n\n"
        source += "    code = compile(text, '<string>', 'exec')\n"
        source += "    space = {}\n    exec(code, space)\n"
        source += "    t = threading.Thread(target=space['f%d' % n])\n    t.start()\n    t.join()\n"
        text = self.written(source, status=0)
        self.assertIn("### 60 crashes", text)
        self.assertIn("30 crashes of other kinds are left out", text)
        self.assertLess(len(text.encode()), 1 << 20)

    def test_unwritable(self) -> None:
        self.assertIn(b"crashenv: cannot write", self.unwritable().stderr)


class Special(MonitorTest):
    """A device must not be replaced by a file, and nobody waits for a FIFO's reader."""

    OPTIONS = {"--metrics": b"# HELP", "--junit": b"<?xml", "--summary": b"### 1 crash"}

    def test_fifo(self) -> None:
        for option, beginning in self.OPTIONS.items():
            with self.subTest(option):
                path = self.folder / option
                os.mkfifo(path)
                result = self.run_monitored(RAISES, "-q", option, str(path))
                self.assertEqual(result.status, 1)
                self.assertIn(b"crashenv: cannot write", result.stderr)
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                result = self.run_monitored(RAISES, "-q", option, str(path))
                self.assertTrue(os.read(reader, 100).lstrip().startswith(beginning))
                os.close(reader)
                self.assertNotIn(b"crashenv:", result.stderr)
                self.assertTrue(stat.S_ISFIFO(os.lstat(path).st_mode))

    def test_symbolic_link(self) -> None:
        for option in self.OPTIONS:
            with self.subTest(option):
                link, file = self.folder / "link", self.folder / option
                link.symlink_to(file)
                self.run_monitored(RAISES, "-q", option, str(link))
                self.assertTrue(link.is_symlink())
                self.assertGreater(file.stat().st_size, 0)
                link.unlink()


class Collected(MonitorTest):
    def test_of_collect_too(self) -> None:
        path = Path(self.folder) / "x.prom"
        source = "import subprocess, sys, os\n"
        source += "args = [sys.executable, '-m', 'crashenv', 'collect', '-q', '--metrics', %r]\n"
        source += "p = subprocess.Popen(args, stdin=subprocess.PIPE)\n"
        source += (
            "p.stdin.write(b'crashenv: report kind=exception program=/a.py bytes=4\\nabc\\n')\n"
        )
        source += "p.stdin.close()\np.wait()\n"
        from tests.driver import run

        result = run(source % str(path), env=self.env)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        self.assertIn('program="a.py"} 1\n', path.read_text("utf-8"))
