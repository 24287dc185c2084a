"""``crashenv show``: print one crash."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

from tests.driver import DEADLINE, CommandTest
from tests.test_list import report
from tests.test_stream import DUMP

BODY = """\
Traceback (most recent call last):
  File "/app/a.py", line 3, in main
    load()
  File "/usr/lib/python3.12/json/decoder.py", line 337, in decode
    decode()
KeyError: 'x'
"""


class ShowTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.env.update(TZ="UTC", TERM="xterm", PAGER="cat")

    def file(self, *parts: bytes) -> str:
        path = self.folder / "crash.log"
        path.write_bytes(b"".join(parts))
        return str(path)

    def full(self) -> bytes:
        header = b"crashenv: report kind=thread pid=7 tid=8 thread=w%%201 "
        header += b"time=2026-11-20T10:11:12.3Z python=3.12.1 program=/app/a.py bytes=%d\n"
        return header % len(BODY) + BODY.encode()

    def on_terminal(self, *arguments: str, **env: str) -> str:
        """Return the output on a terminal."""
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "crashenv", "show", *arguments]
        with subprocess.Popen(command, stdout=slave, env={**self.env, **env}) as process:
            os.close(slave)
            output = b""
            while True:
                try:
                    output += os.read(master, 4096)
                except OSError:  # EIO: the other end was closed
                    break
            process.wait(DEADLINE)
        os.close(master)
        return output.decode().replace("\r\n", "\n")


class Store(ShowTest):
    def test_newest_and_by_id(self) -> None:
        path = self.write("app.py", "import sys\nraise ValueError(sys.argv[1])")
        for message in ("first", "second"):
            self.run_monitored([sys.executable, path, message], "--quiet")
        first, second = self.records()
        self.assertTrue(self.check_output("show").startswith("ValueError: second\n"))
        for prefix in (first["id"], first["id"][:8].upper()):
            self.assertTrue(self.check_output("show", prefix).startswith("ValueError: first\n"))
        output = self.check_output("show", second["id"])
        self.assertIn("\n        Seen: 2 times, first ", output)
        self.assertIn("\n     Command: %s %s second\n" % (sys.executable, path), output)
        self.assertIn("\n      Ending: status 1, ran ", output)

    def test_death(self) -> None:
        kill = "import os; os.kill(os.getpid(), %d)" % signal.SIGSEGV
        self.run_monitored(kill, "--quiet")
        output = self.check_output("show")
        self.assertTrue(output.startswith("killed by SIGSEGV"), output)
        self.assertIn("<string>:1 in <module>\n", output)
        self.assertIn("Fatal Python error: Segmentation fault", output)

    def test_standard_error_of_a_death(self) -> None:
        source = "import os; os.write(2, b'\\033[2Jdouble free\\n'); os.kill(os.getpid(), 9)"
        self.run_monitored(source, "--quiet", "--capture-stderr")
        output = self.check_output("show")
        self.assertIn("\\x1b[2Jdouble free\n", output)

    def test_nothing_there(self) -> None:
        text = self.check_complaint("show", status=1)
        self.assertIn("crashenv show: no crashes in %s: there is no such" % self.store, text)


class Files(ShowTest):
    def test_what_is_shown(self) -> None:
        output = self.check_output("show", self.file(self.full()))
        before, _, text = output.partition("\n\nTraceback")
        self.assertEqual("Traceback" + text, BODY)
        lines = before.splitlines()
        self.assertEqual(lines[:3], ["KeyError: 'x'", "    a.py:3 in main", "        load()"])
        facts = dict(line.strip().split(": ", 1) for line in lines[4:])
        self.assertRegex(facts["Time"], r"^2026-11-20 10:11:12( \(.+ ago\))?$")
        expected = {"Process": "7", "Thread": "w 1", "Python": "3.12.1", "Program": "/app/a.py"}
        self.assertLessEqual(expected.items(), facts.items())

    def test_damage_and_omission(self) -> None:
        output = self.check_output("show", self.file(self.full()[:-5]))
        self.assertIn("      Damage: truncated\n", output)
        text = b"E: x\n[crashenv: 12 bytes left out]\nx\n"
        shortened = b"crashenv: report kind=exception bytes=%d\n%s" % (len(text), text)
        self.assertIn("    Left out: 12 bytes\n", self.check_output("show", self.file(shortened)))

    def test_raw_and_json(self) -> None:
        path = self.file(report("E: \x1b[31mred\xff\u2028", pid="3"))
        result = self.crashenv("show", "--raw", path)
        self.assertTrue(result.stdout.endswith("\nE: \x1b[31mred\xff\u2028\n".encode()))
        record = json.loads(self.check_output("show", "--json", path))
        self.assertEqual((record["pid"], record["schema"]), (3, 1))
        self.assertEqual(record, json.loads(self.check_output("parse", path)))

    def test_ids(self) -> None:
        path = self.file(*(report("E: %d" % n) for n in range(40)))
        ids = [json.loads(line)["id"] for line in self.check_output("parse", path).splitlines()]
        for wanted in ids[:3]:
            output = self.check_output("show", wanted, path)
            self.assertIn("          ID: %s\n" % wanted, output)
        text = self.check_complaint("show", ids[0][:1], path, status=1)
        self.assertRegex(text, "show: several ids begin with %s: %s" % (ids[0][0], ids[0][0]))
        text = self.check_complaint("show", "0123456789abcdef", path, status=1)
        self.assertEqual(text, "crashenv show: no id begins with 0123456789abcdef")

    def test_file_with_the_name_of_an_id(self) -> None:
        (self.folder / "abc").write_bytes(self.full())
        self.assertIn("KeyError", self.check_output("show", "abc", cwd=self.folder))

    def test_control_characters(self) -> None:
        message = "E: \x1b]0;title\x07 \x1b[2J \r \x08 \x9b2J \u202e \x7f end"
        raw = report(message, program="/app/%1B[31ma.py", thread="%1B[2J", python="%1B[2J")
        path = self.file(raw)
        for arguments in ((path,), ("--no-pager", path)):
            output = self.check_output("show", *arguments)
            self.assertEqual({c for c in output if not c.isprintable()}, {"\n"})
            self.assertIn("\\x1b]0;title\\x07 \\x1b[2J \\r \\x08 \\x9b2J \\u202e \\x7f end", output)
        for arguments in ((path,), ("--raw", path), ("--json", path)):
            output = self.on_terminal(*arguments, NO_COLOR="1")
            self.assertEqual({c for c in output if not c.isprintable()}, {"\n"}, arguments)

    def test_dump(self) -> None:
        output = self.check_output("show", self.file(DUMP))
        self.assertTrue(output.startswith("SIGSEGV: Segmentation fault\n    a.py:6 in f\n"))
        self.assertTrue(output.endswith(DUMP.decode()))

    def test_unreadable(self) -> None:
        self.assertIn("No such file", self.check_complaint("show", "missing", status=2))


class Terminal(ShowTest):
    def test_colour(self) -> None:
        path = self.file(self.full())
        red = "\033[1;31mKeyError: 'x'\033[0m"
        self.assertEqual(self.on_terminal(path).count(red), 2)
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
            self.assertNotIn("\033", self.on_terminal(path, **env))
        self.assertNotIn("\033", self.check_output("show", path))
        forced = self.check_output("show", path, env={**self.env, "FORCE_COLOR": "1"})
        self.assertIn(red, forced)
        self.assertIn('\033[1m  File "/app/a.py", line 3, in main\033[0m\n', forced)
        self.assertIn("\033[2m    decode()\033[0m\n", forced)

    def test_pager(self) -> None:
        path = self.file(self.full())
        env = {"PAGER": "sed 's/^/> /'", "NO_COLOR": "1"}
        self.assertTrue(self.on_terminal(path, **env).startswith("> KeyError"))
        self.assertTrue(self.on_terminal("--no-pager", path, **env).startswith("KeyError"))
        output = self.check_output("show", path, env={**self.env, **env})
        self.assertTrue(output.startswith("KeyError"))

    def test_pager_that_is_missing(self) -> None:
        env = {"PAGER": "/nowhere/less 2>/dev/null", "NO_COLOR": "1"}
        self.assertRegex(self.on_terminal(self.file(self.full()), **env), "^KeyError")

    def test_pager_that_quits(self) -> None:
        path = self.file(report("E: " + "x" * 500_000))
        output = self.on_terminal(path, PAGER="head -c 5", NO_COLOR="1")
        self.assertEqual(output, "E: xx")

    def test_default_pager(self) -> None:
        folder = self.folder / "bin"
        self.write("bin/less", '#!/bin/sh\necho "less $LESS"\ncat >/dev/null\n')
        (folder / "less").chmod(0o755)
        env = {name: value for name, value in self.env.items() if name != "PAGER"}
        self.env = {**env, "PATH": "%s:%s" % (folder, env["PATH"])}
        self.assertEqual(self.on_terminal(self.file(self.full())), "less FRX\n")
