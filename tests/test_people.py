"""Output for people: tables on narrow terminals, suggestions, completions."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import unittest
from typing import Any

from tests.driver import DEADLINE, HAS_MONITOR, CommandTest
from tests.test_logs import DUMP, REPORT, TRACEBACK

DEATH = {
    "status": None,
    "signal": "SIGKILL",
    "core": False,
    "run_time": 1.5,
    "user_time": 0.1,
    "system_time": 0.1,
    "peak_memory": 1 << 20,
    "oom_kills": 1,
}


class PeopleTest(CommandTest):
    def file(self, name: str, *pieces: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(pieces))
        return str(path)

    def on_terminal(self, columns: int, *arguments: str) -> str:
        master, slave = pty.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            command = [sys.executable, "-m", "crashenv", *arguments]
            env = {**self.env, "NO_COLOR": "1", "PAGER": "cat", "TERM": "xterm"}
            subprocess.run(command, stdout=slave, stderr=slave, env=env, timeout=DEADLINE)
            os.close(slave)
            slave = -1
            output = b""
            while True:
                try:
                    data = os.read(master, 1 << 16)
                except OSError:
                    break
                if not data:
                    break
                output += data
        finally:
            os.close(master)
            if slave >= 0:
                os.close(slave)
        return output.decode().replace("\r\n", "\n")

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        result = self.crashenv("list", "--json", *arguments)
        return [json.loads(line) for line in result.stdout.splitlines()]


class Tables(PeopleTest):
    def test_what_is_visible(self) -> None:
        long = REPORT.replace(b"in load", b"in a_function_with_a_very_long_name_indeed")
        long = long.replace(b"/srv/app.py", b"/srv/a_program_of_a_long_name.py")
        body = long.partition(b"\n")[2]
        header = b"crashenv: report kind=exception pid=1234567 time=2026-11-22T10:11:12.345678Z "
        header += b"program=/srv/a_program_of_a_long_name.py bytes=%d\n" % len(body)
        path = self.file("crash.log", header + body, DUMP)
        for columns in (80, 100, 60, 200):
            with self.subTest(columns):
                lines = self.on_terminal(columns, "list", path).splitlines()
                self.assertLessEqual(max(map(len, lines)), columns)
                self.assertTrue(any("ValueError: boom" in line for line in lines), lines)
                self.assertTrue(any("SIGSEGV: Segmentation" in line for line in lines), lines)
        wide = self.on_terminal(200, "list", path)
        self.assertIn("a_function_with_a_very_long_name_indeed", wide)
        self.assertIn("1234567", wide)

    def test_worker_has_its_name(self) -> None:
        body = b"Process Process-1:\n" + REPORT.partition(b"\n")[2]
        report = b"crashenv: report kind=process thread=MainThread process=Process-1 bytes=%d\n%s"
        path = self.file("crash.log", report % (len(body), body))
        shown = self.crashenv("show", path).stdout
        self.assertIn(b"Worker: Process-1\n", shown)
        self.assertNotIn(b"MainThread", shown)

    def test_tags(self) -> None:
        report = REPORT.replace(b" bytes=", b" tag.release=1%202 tag.team=x bytes=")
        shown = self.crashenv("show", self.file("crash.log", report)).stdout
        self.assertIn(b"Tags: release=1 2, team=x\n", shown)

    def test_death_is_shown_once(self) -> None:
        self.run_monitored("import os; os.kill(os.getpid(), 9)", "--quiet")
        shown = self.crashenv("show").stdout.decode()
        self.assertEqual(shown.count("killed by SIGKILL"), 2, shown)  # the title, the ending
        self.assertEqual(shown.lower().count("peak memory"), 1, shown)


class Answers(PeopleTest):
    def complaint(self, *arguments: str, status: int = 2) -> str:
        result = self.crashenv(*arguments)
        self.assertEqual((result.status, result.stdout), (status, b""), str(result))
        return result.stderr.decode().splitlines()[0]

    def test_commands_that_do_not_exist(self) -> None:
        for given, meant in (("ls", "list"), ("lst", "list"), ("doktor", "doctor"), ("rnu", "run")):
            text = self.complaint(given)
            self.assertEqual(
                text, "crashenv: there is no command %r; did you mean %r?" % (given, meant)
            )
        self.assertEqual(self.complaint("xyzzy"), "crashenv: there is no command 'xyzzy'")

    def test_no_escape_sequences_come_back(self) -> None:
        hostile = "\x1b]0;title\x07\x9b31m\u202e"
        shown = "\\x1b]0;title\\x07\\x9b31m\\u202e"
        for command in ("list", "show", "parse", "run", "send", "prune", "html"):
            result = self.crashenv(command, "--" + hostile)
            self.assertIn(shown, result.stderr.decode(), command)
            self.assertNotIn(b"\x1b", result.stderr, command)
        if not HAS_MONITOR:
            return
        result = self.crashenv("run", hostile)
        self.assertEqual(result.stderr.decode().partition(": No such")[0], "crashenv: " + shown)

    def test_no_id(self) -> None:
        text = self.complaint("show", "zzzz")
        self.assertIn("zzzz: No such file, and not the beginning of an id", text)
        self.assertIn("crashenv list", text)

    def test_no_time(self) -> None:
        self.assertIn(
            "'foo' is not a time such as 2h, 7d, today", self.complaint("list", "--since", "foo")
        )

    def test_json_and_raw(self) -> None:
        text = self.complaint("show", "--json", "--raw", self.file("x.log", REPORT))
        self.assertEqual(text, "crashenv show: --json and --raw cannot be combined")

    def test_folders(self) -> None:
        self.file("logs/worker.1.log", REPORT)
        self.file("logs/worker.2.log", b"INFO\n", DUMP)
        self.file("logs/sub/other.log", REPORT)
        os.mkfifo(self.folder / "logs" / "fifo")
        self.assertEqual(len(self.listed(str(self.folder / "logs"))), 2)
        self.run_monitored("1/0", "--quiet")
        self.assertEqual(len(self.listed(str(self.store))), 1)

    def test_dumps_are_not_dropped_silently(self) -> None:
        path = self.file("crash.log", DUMP)
        self.assertEqual(len(self.listed("--since", "1h", path)), 1)
        os.utime(path, (1, 1))
        self.assertEqual(self.listed("--since", "1h", path), [])
        result = self.crashenv("list", "--program", "app.py", path)
        self.assertIn(b"left out 1 that do not name their program", result.stderr)
        self.assertEqual(result.status, 1)

    def test_own(self) -> None:
        text = REPORT.replace(b"/srv/app.py", b"/v/lib/python3.11/site-packages/mine/app.py")
        body = text.partition(b"\n")[2]
        body = body.replace(
            b"ValueError: boom", b'  File "/srv/jobs/job.py", line 1, in job\nValueError: boom'
        )
        path = self.file(
            "crash.log", b"crashenv: report kind=exception bytes=%d\n%s" % (len(body), body)
        )
        self.assertEqual(self.listed(path)[0]["where"], "job.py:1 in job")
        for pattern in ("mine", "*/site-packages/mi*", "mine/*.py", "app.py"):
            (row,) = self.listed("--own", pattern, path)
            self.assertEqual(row["where"], "app.py:2 in load", pattern)
        (row,) = self.listed("--own", "nothing", path)
        self.assertEqual(row["where"], "job.py:1 in job")
        (row,) = self.listed("--own", "nothing", "--own", "mine", path)
        self.assertEqual(row["where"], "app.py:2 in load")

    def test_tracebacks(self) -> None:
        path = self.file("app.log", b"INFO\n", TRACEBACK, b"INFO\n")
        self.assertEqual(self.listed(path), [])
        self.assertEqual(
            self.listed("--tracebacks", path)[0]["summary"], "RuntimeError: cannot load"
        )
        shown = self.crashenv("show", "--tracebacks", path)
        self.assertIn(b"ZeroDivisionError", shown.stdout)
        parsed = self.crashenv("parse", "--tracebacks", path)
        self.assertEqual(json.loads(parsed.stdout)["kind"], "traceback")


class Pruning(PeopleTest):
    def prune(self, *arguments: str) -> str:
        result = self.crashenv("prune", *arguments)
        self.assertEqual(result.status, 0, str(result))
        return result.stdout.decode()

    def test_each_way(self) -> None:
        for number in range(5):
            self.run_monitored("raise ValueError(%d)" % number, "--quiet")
        first = sorted(self.store.iterdir())[0]
        first.rename(first.with_name("20200101T000000.000000Z-" + "a" * 16 + ".json"))
        other = self.store / "notes.json"
        other.write_text("{}")
        self.assertEqual(
            self.prune("--before", "2021-01-01", "--dry-run"), "would remove 1 record\n"
        )
        self.assertEqual(self.prune("--before", "2021-01-01"), "removed 1 record\n")
        self.assertEqual(self.prune("--max-records", "3"), "removed 1 record\n")
        self.assertEqual(self.prune("--max-size", "1"), "removed 2 records\n")
        self.assertEqual(
            [record["summary"] for record in self.records_of_store()], ["ValueError: 4"]
        )
        self.assertTrue(other.exists())
        result = self.crashenv("prune")
        self.assertEqual(result.status, 2)

    def records_of_store(self) -> list[dict[str, Any]]:
        paths = [path for path in sorted(self.store.glob("*.json")) if path.name != "notes.json"]
        return [json.loads(path.read_bytes()) for path in paths]


class Stores(PeopleTest):
    def test_clock_that_went_back(self) -> None:
        self.run_monitored("1/0", "--quiet")
        (path,) = self.store.iterdir()
        for number in range(3):
            name = "20990101T000000.%06dZ-%016x.json" % (number, number)
            shutil.copy(path, path.with_name(name))
        path.unlink()
        self.run_monitored("raise ValueError('new')", "--quiet", "--max-records", "3")
        summaries = [record["summary"] for record in self.records()]
        self.assertIn("ValueError: new", summaries)
        self.assertEqual(len(summaries), 3)

    def test_modes(self) -> None:
        old = os.umask(0o022)
        try:
            self.run_monitored("1/0", "--quiet", "--store", str(self.folder / "a" / "b"))
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.folder / "a").st_mode & 0o777, 0o755)
        self.assertEqual(os.stat(self.folder / "a" / "b").st_mode & 0o777, 0o700)


class Streams(PeopleTest):
    """A closed or full stream is no traceback."""

    def with_streams(
        self, redirections: str, *arguments: str
    ) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "crashenv", *arguments]
        script = 'exec "$@" ' + redirections
        return subprocess.run(
            ["sh", "-c", script, "sh", *command],
            capture_output=True,
            env=self.env,
            timeout=DEADLINE,
        )

    def test_streams(self) -> None:
        log = self.file("crash.log", REPORT)
        for arguments in (["list", log], ["show", log], ["parse", log], ["man"], ["--version"]):
            with self.subTest(arguments):
                self.assertEqual(self.with_streams(">&-", *arguments).returncode, 0)
                self.assertEqual(self.with_streams("2>&-", *arguments).returncode, 0)
                self.assertNotEqual(self.with_streams("", *arguments).stdout, b"")
                full = self.with_streams(">/dev/full", *arguments)
                self.assertEqual(full.returncode, 2)
                self.assertRegex(full.stderr, rb"\Acrashenv .*: No space left on device\n\Z")
        self.assertEqual(self.with_streams("2>&-", "list", "--no-such-option").returncode, 2)

    def test_collect_without_input(self) -> None:
        done = self.with_streams("<&-", "collect")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"standard input is closed", done.stderr)


class Shells(PeopleTest):
    def output(self, *arguments: str) -> str:
        result = self.crashenv(*arguments)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        return result.stdout.decode()

    def test_bash_completes(self) -> None:
        if shutil.which("bash") is None:
            self.skipTest("needs bash")
        script = self.write("complete.sh", self.output("completion", "bash"))
        ask = """
            . %s
            COMP_WORDS=(%s); COMP_CWORD=%d; _crashenv; echo "${COMPREPLY[@]}"
            """
        for words, index, expected in (
            ("crashenv do", 1, "doctor"),
            ("crashenv list --tr", 2, "--tracebacks"),
            ("crashenv run --max-", 2, "--max-records --max-size"),
            ("crashenv run -- python --v", 4, ""),
            ("crashenv list ", 2, ""),  # by readline, which quotes names with spaces
        ):
            program = self.write("ask.sh", ask % (script, words, index))
            done = subprocess.run(["bash", program], capture_output=True, timeout=DEADLINE)
            self.assertEqual(done.stdout.decode().strip(), expected, done.stderr)

    def test_zsh_completes_at_the_first_time(self) -> None:
        if shutil.which("zsh") is None:
            self.skipTest("needs zsh")
        self.write("_crashenv", self.output("completion", "zsh"))
        ask = """
            fpath=(%s); autoload -Uz _crashenv
            _describe() { print ${(P)2} }
            words=(crashenv ''); CURRENT=2; _crashenv
            """
        program = self.write("ask.zsh", ask % self.folder)
        done = subprocess.run(["zsh", "-f", program], capture_output=True, timeout=DEADLINE)
        self.assertIn("prune:remove", done.stdout.decode(), done.stderr)

    def test_each_command_and_option_is_there(self) -> None:
        help = self.output("--help").partition("commands:\n")[2]
        commands = [line.split()[0] for line in help.splitlines() if line.startswith("  ")]
        self.assertIn("prune", commands)
        texts = {name: self.output("completion", name) for name in ("bash", "zsh", "fish")}
        page = self.output("man")
        for command in commands:
            self.assertIn("crashenv " + command, page)
            for shell, text in texts.items():
                self.assertIn(command, text, shell)
        for shell, text in texts.items():
            self.assertIn("max-records", text, shell)
        self.assertIn("max\\-records", page)
        self.assertEqual(self.crashenv("completion", "tcsh").status, 2)

    def test_manual_page_has_no_errors(self) -> None:
        if shutil.which("groff") is None:
            self.skipTest("needs groff")
        page = self.write("crashenv.1", self.output("man"))
        command = ["groff", "-man", "-ww", "-Tutf8", "-z", page]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))


if __name__ == "__main__":
    unittest.main()
