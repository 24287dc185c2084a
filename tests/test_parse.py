"""``crashenv parse``: lines of JSON, to the end of a file or as it grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unittest
from typing import Any

from tests.driver import DEADLINE, CommandTest, started, wait_until
from tests.test_stream import DUMP, report


class Parse(CommandTest):
    def file(self, data: bytes) -> str:
        path = self.folder / "crash.log"
        path.write_bytes(data)
        return str(path)

    def records(self, *arguments: str, **options: Any) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in self.check_output("parse", *arguments, **options).splitlines()
        ]

    def test_file(self) -> None:
        first, second = self.records(self.file(report(pid=7) + DUMP))
        self.assertEqual((first["schema"], first["kind"], first["pid"]), (1, "exception", 7))
        self.assertEqual(first["summary"], "ValueError: boom")
        self.assertEqual(first["where"], "a.py:1 in f")
        self.assertEqual((second["kind"], second["dump"]["signal"]), ("dump", "SIGSEGV"))
        self.assertEqual([t["current"] for t in second["dump"]["threads"]], [False, True])
        self.assertEqual(second["dump"]["c_stack"][0]["symbol"], "_Py_DumpStack")
        self.assertEqual(second["dump"]["extension_modules"], ["a", "b"])

    def test_standard_input(self) -> None:
        for arguments in ((), ("-",)):
            (made,) = self.records(*arguments, input=report())
            self.assertEqual(made["summary"], "ValueError: boom")

    def test_what_a_program_wrote(self) -> None:
        log = str(self.folder / "log")
        self.run_with("import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start()\n"
                      "t.join()\n{}['x']", pydebug="crashfile=" + log)  # fmt: skip
        thread, main = self.records(log)
        self.assertEqual(thread["summary"], "ZeroDivisionError: division by zero")
        self.assertEqual((thread["kind"], main["kind"]), ("thread", "exception"))
        self.assertEqual(main["exception"]["type"], "KeyError")

    def test_notes_of_a_program(self) -> None:
        source = "e = ValueError('a\\nb')\ne.__notes__ = ['c\\nd', 'e']\nraise e"
        log = str(self.folder / "log")
        self.run_with(source, pydebug="crashfile=" + log)
        (made,) = self.records(log)
        shown = ["c\nd", "e"] if sys.version_info >= (3, 11) else []
        self.assertEqual(made["exception"]["message"], "a\nb")
        self.assertEqual(made["exception"]["notes"], shown)

    def test_same_file_twice_gives_the_same_ids(self) -> None:
        path = self.file(report(pid=1) + report(pid=2))
        first, second = self.records(path), self.records(path)
        self.assertEqual([r["id"] for r in first], [r["id"] for r in second])
        self.assertNotEqual(first[0]["id"], first[1]["id"])

    def test_what_is_skipped_is_counted_and_told_once(self) -> None:
        path = self.file(b"INFO\n" * 10 + report() + b"INFO\n" * 10)
        result = self.crashenv("parse", path)
        self.assertEqual(result.stdout.count(b"\n"), 1)
        text = "crashenv parse: %s: skipped 100 bytes that are not reports\n" % path
        self.assertEqual((result.status, result.stderr.decode()), (0, text))
        self.assertEqual(self.crashenv("parse", "--quiet", path).stderr, b"")

    def test_any_bytes(self) -> None:
        for data in (b"", b"\0" * 5000, bytes(range(256)) * 20, b"\xff\n", b"\n", b"{}\n"):
            result = self.crashenv("parse", "-q", input=data)
            self.assertEqual((result.status, result.stdout, result.stderr), (0, b"", b""))

    def test_every_line_is_ascii_and_json(self) -> None:
        body = 'ValueError: größe \u2028 \x85 \x00 \x1b[31m "\\\n'.encode() + b"\xff\xfe\n"
        (line,) = self.check_output("parse", input=report(body)).splitlines()
        self.assertTrue(line.isascii())
        self.assertIn("größe \u2028 \x85 \x00", json.loads(line)["summary"])

    def test_deep_chain_can_be_read_back(self) -> None:
        source = """
            e = None
            for n in range(10_000):
                new = ValueError(n)
                new.__cause__ = e
                e = new
            raise e
            """
        log = str(self.folder / "log")
        self.run_with(source, pydebug="crashfile=" + log)
        (made,) = self.records(log)
        self.assertEqual(made["exception"]["type"], "ValueError")

    def test_unreadable(self) -> None:
        self.assertIn("No such file", self.check_complaint("parse", "missing", status=2))
        self.assertIn("directory", self.check_complaint("parse", str(self.folder), status=2))
        self.check_complaint("parse", "--nonsense", status=2)
        self.check_complaint("parse", "a", "b", status=2)

    def test_reader_that_goes_away(self) -> None:
        path = self.file(report() * 5000)
        shell = '"$0" -m crashenv parse "$1" | head -n 1'
        done = subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable, path],
            env=self.env,
            capture_output=True,
            timeout=DEADLINE,
            check=True,
        )
        self.assertEqual((done.stdout.count(b"\n"), done.stderr), (1, b""))

    def test_help(self) -> None:
        for command in ("parse", "list", "show", "doctor"):
            text = self.check_output(command, "--help")
            self.assertTrue(text.startswith("usage: crashenv %s" % command))
            self.assertIn("\nexit status:\n", text)
            self.assertEqual(text, self.check_output(command, "-h"))
            self.assertLess(max(map(len, text.splitlines())), 96)

    def test_writers_whose_prefix_ends_with_a_time(self) -> None:
        """A pattern of many lines would be tried in all ways; the command has a deadline."""
        header = "Traceback (most recent call last):"
        first = [header, '  File "a.py", line 1, in f', "ValueError: x", *["on"] * 60]
        for time in ("2026-11-26T10:11:12.123456Z", "10:11:12.123456"):
            with self.subTest(time):
                text = "".join(time + line + "\n" for line in first)
                text += ((time + "on\n") * 19 + "another\n") * 5
                result = self.crashenv("parse", "--tracebacks", self.write("log", text))
                (record,) = map(json.loads, result.stdout.splitlines())
                self.assertEqual(record["summary"], "ValueError: x")


class Follow(CommandTest):
    """Each step is taken when the effect of the one before is visible."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "crash.log"
        self.path.write_bytes(report(pid=1))
        arguments = ["-m", "crashenv", "parse", "--follow", str(self.path)]
        self.process = self.enterContext_(started(arguments, env=self.env))
        self.expect(1)

    def enterContext_(self, manager: Any) -> Any:  # enterContext came with 3.11
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def expect(self, pid: int | None) -> dict[str, Any]:
        line: list[bytes] = []
        os.set_blocking(self.process.stdout.fileno(), False)

        def read() -> bool:
            line.append(self.process.stdout.readline() or b"")
            return b"".join(line).endswith(b"\n")

        wait_until(read, "a record")
        made: dict[str, Any] = json.loads(b"".join(line))
        self.assertEqual(made["pid"], pid)
        return made

    def append(self, data: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(data)

    def test_what_is_appended(self) -> None:
        self.append(report(pid=2)[:50])
        self.append(report(pid=2)[50:])
        self.expect(2)

    def test_dump_that_nothing_follows(self) -> None:
        self.append(DUMP)
        self.assertEqual(self.expect(None)["kind"], "dump")

    def test_rotation(self) -> None:
        self.append(report(pid=2)[:-5])
        self.path.rename(self.folder / "crash.log.1")
        with open(self.folder / "crash.log.1", "ab") as file:
            file.write(report(pid=2)[-5:])
        self.expect(2)
        self.path.write_bytes(report(pid=3))
        self.expect(3)
        self.append(report(pid=4))
        self.expect(4)

    def test_truncation(self) -> None:
        self.append(report(pid=2))
        self.expect(2)
        self.path.write_bytes(b"")
        self.path.write_bytes(report(pid=3))
        self.expect(3)

    def test_interrupted_quietly(self) -> None:
        self.process.send_signal(2)
        self.assertEqual(self.process.wait(DEADLINE), -2)
        self.assertEqual(self.process.stderr.read(), b"")


if __name__ == "__main__":
    unittest.main()
