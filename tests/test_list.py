"""``crashenv list``: one row for each crash."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.driver import CommandTest
from tests.test_stream import DUMP

PROGRAM = """
import sys
def load():
    raise ValueError(sys.argv[1])
load()
"""


def report(message: str, line: int = 1, function: str = "f", **fields: str) -> bytes:
    body = 'Traceback (most recent call last):\n  File "/app/a.py", line %d, in %s\n%s\n'
    text = (body % (line, function, message)).encode()
    values = {"kind": "exception", "pid": "7", "time": "2026-11-20T10:11:12.345678Z"}
    values.update(program="/app/a.py", **fields) if "program" not in fields else values.update(
        fields
    )
    header = "".join(" %s=%s" % item for item in values.items())
    return b"crashenv: report%s bytes=%d\n%s" % (header.encode(), len(text), text)


class ListTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.env["TZ"] = "UTC"

    def file(self, *parts: bytes) -> str:
        path = self.folder / "crash.log"
        path.write_bytes(b"".join(parts))
        return str(path)

    def rows(self, *arguments: str, **others: Any) -> list[dict[str, Any]]:
        output = self.check_output("list", "--json", *arguments, **others)
        return [json.loads(line) for line in output.splitlines()]

    def summaries(self, *arguments: str) -> list[str]:
        return [row["summary"] for row in self.rows(*arguments)]


class Store(ListTest):
    def crash(self, *messages: str) -> None:
        path = self.write("app.py", PROGRAM)
        for message in messages:
            self.run_monitored([sys.executable, path, message], "--quiet")

    def test_newest_last(self) -> None:
        self.crash("first", "second")
        head, first, second = self.check_output("list").splitlines()
        self.assertEqual(head.split(), ["TIME", "PID", "ID", "SEEN", "PROGRAM", "WHERE", "WHAT"])
        self.assertRegex(first, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+  [0-9a-f]{8}     2  app.py ")
        self.assertTrue(first.endswith("  app.py:4 in load  ValueError: first"), first)
        self.assertTrue(second.endswith("  ValueError: second"), second)

    def test_folder_that_is_named(self) -> None:
        self.crash("first")
        env = {**self.env, "XDG_STATE_HOME": "/nowhere"}
        self.assertEqual(len(self.rows("--store", str(self.store), env=env)), 1)

    def test_no_store_and_an_empty_one(self) -> None:
        text = "crashenv list: no crashes in %s" % self.store
        missing = text + ": there is no such folder yet; 'crashenv run COMMAND' creates it"
        self.assertEqual(self.check_complaint("list", status=1), missing)
        given = self.check_complaint("list", "--store", str(self.store), status=1)
        self.assertEqual(given, text + ": there is no such folder")
        self.store.mkdir(parents=True)
        self.assertEqual(self.check_complaint("list", status=1), text)

    def test_store_that_is_a_file(self) -> None:
        path = self.write("file", "")
        text = self.check_complaint("list", "--store", path, status=2)
        self.assertEqual(text, "crashenv list: %s: Not a directory" % path)

    def test_what_is_no_record(self) -> None:
        self.crash("first", "second")
        first, second = sorted(self.store.glob("*.json"))
        newer = json.loads(first.read_bytes())
        newer["schema"] = 2
        others: dict[str, bytes] = {
            "3-newer": json.dumps(newer).encode(),
            "4-empty": b"",
            "5-no-json": b"\xff{",
            "6-list": b"[]",
            "7-other": b'{"schema":1}',
            "8-types": second.read_bytes().replace(b'"summary":"', b'"summary":5,"x":"'),
            "9-deep": b"[" * 100_000,
            "9-cut": second.read_bytes()[:100],
            "deep in front": b'{"schema":1,"x":' + b"[" * 100_000,
            "two": b'{"schema":1,"a":1},{"schema":1,"b":[{"c":1',  # with the next one valid JSON
            "half": b'{"schema":1}],"d":2',
        }
        shape = "20990101T000000.%06dZ-%016x.json"
        for number, content in enumerate(others.values()):
            (self.store / (shape % (number, number))).write_bytes(content)
        (self.store / (shape % (99, 99))).mkdir()  # a folder; the next two are not records
        (self.store / "notes.txt").write_text("no record")
        (self.store / "9-data.json").write_text("{}")
        result = self.crashenv("list", "--json")
        self.assertEqual(result.stdout.count(b"\n"), 2, str(result))
        lines = sorted(result.stderr.decode().splitlines())
        self.assertEqual(len(lines), 2, str(result))
        self.assertEqual(lines[0], "crashenv list: skipped 1 of a newer crashenv, of schema 2")
        self.assertEqual(lines[1], "crashenv list: skipped 10 that are no records")

    def test_records_written_otherwise(self) -> None:
        message = 'with "quotes" \\ \t größe \N{GRINNING FACE}'
        self.crash(message, "second")
        first, second = sorted(self.store.glob("*.json"))
        before = self.rows()
        self.assertEqual(before[0]["summary"], "ValueError: " + message)
        for path in (first, second):
            path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2, sort_keys=True))
        self.assertEqual(self.rows(), before)

    def test_dangling_link_as_if_pruned_meanwhile(self) -> None:
        self.crash("first")
        (self.store / "20991122T101112Z-0.json").symlink_to("gone")
        self.assertEqual(self.summaries(), ["ValueError: first"])
        self.assertIn("ValueError: first", self.check_output("show"))


class Files(ListTest):
    def test_what_parse_printed(self) -> None:
        path = self.file(report("KeyError: 1"), DUMP)
        lines = self.folder / "lines"
        lines.write_text(self.check_output("parse", path))
        self.assertEqual(self.rows(path), self.rows(str(lines)))

    def test_several(self) -> None:
        late = report("E: late", time="2026-11-22T00:00:00.000000Z")
        early = report("E: early", time="2026-11-01T00:00:00.000000Z")
        one, two = self.folder / "one", self.folder / "two"
        one.write_bytes(late)
        two.write_bytes(early + DUMP)
        expected = ["E: early", "SIGSEGV: Segmentation fault", "E: late"]
        self.assertEqual(self.summaries(str(one), str(two)), expected)

    def test_one_of_them_unreadable(self) -> None:
        result = self.crashenv("list", self.file(report("E: x")), "missing")
        self.assertEqual(result.status, 2)
        self.assertEqual(result.stderr, b"crashenv list: missing: No such file or directory\n")
        self.assertIn(b"E: x", result.stdout)

    def test_log_of_json_lines_with_reports_between(self) -> None:
        path = self.file(b'{"level": "info"}\n', report("E: x"), b'{"level": "info"}\n')
        self.assertEqual(self.summaries(path), ["E: x"])

    def test_dump_has_no_time(self) -> None:
        line = self.check_output("list", self.file(DUMP)).splitlines()[1]
        self.assertEqual(line.split()[:2], ["-", "-"])

    def test_local_time(self) -> None:
        path = self.file(report("E: x", time="2026-07-01T22:30:00.000000Z"))
        for zone, shown in (
            ("UTC", "2026-07-01 22:30:00"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-02 00:30:00"),
            ("IST-5:30", "2026-07-02 04:00:00"),
        ):
            env = {**self.env, "TZ": zone}
            self.assertIn(shown, self.check_output("list", path, env=env))

    def test_day_on_which_clocks_are_changed(self) -> None:
        env = {**self.env, "TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
        for day, hours in (
            ("2026-03-29", [1, *range(3, 24), 0, 1]),  # both changes are at 01:00 UTC
            ("2026-10-25", [2, 2, *range(3, 24), 0]),
            ("2026-10-26", [*range(1, 24), 0]),
        ):
            times = ["%sT%02d:59:58.123456Z" % (day, hour) for hour in range(24)]
            path = self.file(*[report("E: x", time=time) for time in times])
            rows = self.check_output("list", path, env=env).splitlines()[1:]
            self.assertEqual([row[11:19] for row in rows], ["%02d:59:58" % hour for hour in hours])
            is_next = [row[:10] != day for row in rows]
            self.assertEqual(is_next, [i >= hours.index(0) for i in range(24)])

    def test_control_characters(self) -> None:
        message = "E: \x1b]0;title\x07\r\u202e\x9b2J"
        path = self.file(report(message, function="\x1b[2J", program="/app/%1B[31ma.py"))
        output = self.check_output("list", path)
        self.assertEqual([c for c in output if not c.isprintable()], ["\n", "\n"])
        self.assertIn("\\x1b]0;title\\x07\\r\\u202e\\x9b2J", output)

    def test_encoding_that_lacks_characters(self) -> None:
        env = {**self.env, "PYTHONIOENCODING": "ascii"}
        output = self.check_output("list", self.file(report("E: größe")), env=env)
        self.assertIn("E: gr\\xf6\\xdfe", output)


class Selection(ListTest):
    def setUp(self) -> None:
        super().setUp()
        now = time.time()
        self.path = self.file(
            *(
                report("ValueError: order %d" % n, line=n, program=program, time=stamp(now - age))
                for n, (program, age) in enumerate(
                    (("/srv/a.py", 90_000), ("/srv/b.py", 7000), ("/srv/a.py", 30))
                )
            ),
            report("ValueError: elsewhere", function="g", time=stamp(now)),
        )

    def test_group(self) -> None:
        first, second = self.rows("--group", self.path)
        self.assertEqual((first["summary"], first["seen"]), ("ValueError: order 2", 3))
        self.assertEqual((second["summary"], second["seen"]), ("ValueError: elsewhere", 1))
        self.assertLess(first["first"], first["time"])
        head, *rows = self.check_output("list", "-g", self.path).splitlines()
        self.assertEqual(head.split()[:4], ["FIRST", "LAST", "ID", "SEEN"])
        self.assertEqual(len(rows), 2)

    def test_since(self) -> None:
        for since, count in (("2h", 3), ("60s", 2), ("1min ago", 2), ("2d", 4), ("@0", 4)):
            self.assertEqual(len(self.rows("--since", since, self.path)), count, since)
        tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
        for since in (tomorrow, tomorrow + " 00:00", tomorrow + "T00:00:00Z"):
            self.check_complaint("list", "--since", since, self.path, status=1)
        for wrong in ("", "soon", "2026-13-01", "25:00", "-1h"):
            self.check_complaint("list", "--since=" + wrong, self.path, status=2)

    def test_program(self) -> None:
        for name, count in (("a.py", 3), ("b.py", 1), ("/srv/a.py", 2), ("?.py", 4), ("/s*", 3)):
            self.assertEqual(len(self.rows("--program", name, self.path)), count, name)
        self.check_complaint("list", "--program", "c.py", self.path, status=1)

    def test_newest(self) -> None:
        self.assertEqual(len(self.rows("-n", "2", self.path)), 2)
        self.assertEqual(self.summaries("-n1", self.path), ["ValueError: elsewhere"])
        self.check_complaint("list", "-n", "x", self.path, status=2)

    def test_beginnings_of_options(self) -> None:
        self.assertEqual(len(self.rows("--gr", "--new=1", self.path)), 1)
        self.assertIn("is ambiguous", self.check_complaint("list", "--s", self.path, status=2))
        self.assertIn("needs a value", self.check_complaint("list", "--since", status=2))
        self.assertIn("takes no value", self.check_complaint("list", "--group=1", status=2))


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(seconds))
