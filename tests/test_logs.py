"""Reports, dumps and tracebacks in other programs' logs, read as if they stood alone."""

from __future__ import annotations

import json
import random
import sys
import unittest
from collections.abc import Callable
from typing import Any

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading.build import record
from crashenv._reading.frames import Frame
from crashenv._reading.logs import Log

BODY = b"""Traceback (most recent call last):
  File "/srv/app.py", line 3, in <module>
    load()
  File "/srv/app.py", line 2, in load
    raise ValueError("boom")
ValueError: boom

  and a third line
"""
REPORT = b"crashenv: report kind=exception pid=7 program=/srv/app.py bytes=%d\n%s" % (
    len(BODY),
    BODY,
)
DUMP = b"""Fatal Python error: Segmentation fault

Thread 0x00007f12a3fff6c0 (most recent call first):
  File "/srv/app.py", line 12 in wait

Current thread 0x00007f12b5c2b740 (most recent call first):
  File "/srv/app.py", line 7 in collect
  File "/srv/app.py", line 9 in <module>

Extension modules: markupsafe._speedups (total: 1)
"""
TRACEBACK = b"""Traceback (most recent call last):
  File "/srv/app.py", line 2, in load
    1/0
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app.py", line 5, in <module>
    load()
RuntimeError: cannot load
"""


def lines(format: str) -> Callable[[bytes, int], bytes]:
    """Put ``format`` before each line; N stands for the line's number, S for seconds."""

    def write(line: bytes, number: int) -> bytes:
        seconds = "%02d.%03d" % (number % 60, number * 37 % 1000)
        return format.replace("S.", seconds).replace("SS", seconds[:2]).encode() + line

    return write


def as_docker(line: bytes, number: int) -> bytes:
    text = line.decode()
    return json.dumps({"log": text, "stream": "stderr", "time": str(number)}).encode() + b"\n"


def as_journal(line: bytes, number: int) -> bytes:
    text: Any = line.decode().rstrip("\n")
    if number % 3 == 1:
        text = list(text.encode())
    entry = {"__CURSOR": str(number), "MESSAGE": text, "_PID": "42", "PRIORITY": "3"}
    return json.dumps(entry).encode() + b"\n"


def trimmed(write: Callable[[bytes, int], bytes]) -> Callable[[bytes, int], bytes]:
    return lambda line, number: write(line, number).rstrip() + b"\n"


def coloured(line: bytes, number: int) -> bytes:
    return b"\x1b[31m" + line.rstrip(b"\n") + b"\x1b[0m\n"


FORMATS: dict[str, Callable[[bytes, int], bytes]] = {
    "kubelet": lines("2026-11-22T10:11:S.678901Z stderr F "),
    "docker": as_docker,
    "compose": lines("web-1  | "),
    "compose in colours": lines("\x1b[36mweb-1  | \x1b[0m"),
    "journald": lines("Nov 22 10:11:SS host python3[4242]: "),
    "journald, trimmed": trimmed(lines("Nov  2 10:11:SS host python3[4242]: ")),
    "journald, JSON": as_journal,
    "rsyslog": lines("2026-11-22T10:11:S.678+01:00 host app: "),
    "RFC 5424": lines("<11>1 2026-11-22T10:11:S.6Z host app 4242 - - "),
    "GitHub Actions": lines("2026-11-22T10:11:S.6789012Z "),
    "gh run view": lines("test\tRun tests\t2026-11-22T10:11:S.67Z "),
    "Airflow": lines("[2026-11-22, 10:11:SS UTC] {subprocess.py:93} INFO - "),
    "Airflow 2.8": lines("[2026-11-22T10:11:S.+0000] {logging_mixin.py:188} ERROR - "),
    "Heroku": lines("2026-11-22T10:11:S.678901+00:00 app[web.1]: "),
    "kubectl --prefix": lines("[pod/app-7d9c/web] "),
    "indented": lines("    "),
    "quoted": lines("> "),
    "journald, short-precise": lines("Nov 22 10:11:S.123 host python3[4242]: "),
    "journald, short-monotonic": lines("[ 1042.0SS678] host python3[4242]: "),
    "syslog-ng": lines('<11>1 2026-11-22T10:11:S.6Z host app 42 - [meta sequenceId="SS"] '),
    "Apache": lines("[Sun Nov 22 10:11:S.678 2026] [wsgi:error] [pid 42:tid 14] [client ::1] "),
    "multilog": lines("@4000000067452SS1d2e12341 "),
    "tab": lines("\t"),
    "BuildKit": lines("#12 S. "),
    "two times": trimmed(lines("2026-11-22T10:11:S.6Z web-1  | 2026-11-22 10:11:SS ")),
    "coloured": coloured,
}
GROUP = b"""  + Exception Group Traceback (most recent call last):
  |   File "/srv/app.py", line 1, in <module>
  |     raise ExceptionGroup("several", [ValueError(1), TypeError(2)])
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------
"""


SYNTAX = b"""  File "/srv/app.py", line 3
    def f(:
          ^
SyntaxError: invalid syntax
"""


def written(text: bytes, write: Callable[[bytes, int], bytes]) -> list[bytes]:
    return [write(line, number) for number, line in enumerate(text.splitlines(keepends=True))]


def read(stream: bytes, size: int = 1 << 20, tracebacks: bool = False) -> list[Frame]:
    log = Log(tracebacks)
    frames = []
    for start in range(0, len(stream), size):
        frames += log.feed(stream[start : start + size])
    return frames + log.close()


class Prefixes(unittest.TestCase):
    def check(self, stream: bytes, *expected: bytes, tracebacks: bool = False) -> None:
        for size in (1 << 20, 7, 100):
            frames = read(stream, size, tracebacks)
            self.assertEqual([frame.raw for frame in frames], list(expected), stream.decode())
            self.assertEqual([frame.damage for frame in frames], [None] * len(expected))

    def test_each_format(self) -> None:
        for name, write in FORMATS.items():
            for text in (REPORT, DUMP.rstrip() + b"\n"):
                with self.subTest(name, text=text[:10]):
                    other = b"".join(written(b"started\nworking on it\n", write))
                    stream = b"".join(written(text, write))
                    self.check(other + stream + other * 20, text)

    def test_tracebacks(self) -> None:
        for name, write in FORMATS.items():
            with self.subTest(name):
                other = b"".join(written(b"started\n", write))
                for text in (TRACEBACK, GROUP, SYNTAX):
                    stream = other + b"".join(written(text, write)) + other
                    self.check(stream, text, tracebacks=True)
                    self.check(stream)

    def test_two_writers_alternate(self) -> None:
        pairs = (
            ("web-1  | ", "web-2  | "),
            ("Nov 22 10:11:SS host app[41]: ", "Nov 22 10:11:SS host app[42]: "),
            ("2026-11-22T10:11:S.6Z stderr F ", "2026-11-22T10:11:S.6Z stdout F "),
        )
        for first, second in pairs:
            with self.subTest(first):
                ones, others = written(REPORT, lines(first)), written(REPORT, lines(second))
                # The line after the first shows that there is a prefix.
                stream = ones[:2] + others[:2]
                for pair in zip(ones[2:], others[2:]):
                    stream += pair
                self.check(b"".join(stream), REPORT, REPORT)

    def test_other_writers_between_the_first_lines(self) -> None:
        others = [b"web-%d  | working\n" % number for number in range(2, 8)]
        for text in (TRACEBACK, DUMP, REPORT):
            stream = b""
            for line in written(text, lines("web-1  | ")):
                stream += line + b"".join(others)
            self.check(stream, text, tracebacks=True)

    def test_held_lines_at_the_end(self) -> None:
        """None of them is lost, though each may have a prefix."""
        text = b"x Timeout (1)\ny Timeout (2)\n"
        self.check(text + REPORT, REPORT)
        self.check(b"a" * 300 + b" " + text + b"z " + DUMP + text, DUMP)
        log = Log(tracebacks=True)
        log.feed(text)
        log.close()
        self.assertEqual(log.skipped, len(text))

    def test_progress_between_a_prefix_and_the_text(self) -> None:
        for name, write in FORMATS.items():
            if name in ("docker", "journald, JSON", "coloured"):
                continue
            with self.subTest(name):
                text = b"collected 3 items\ntests/a.py ...\ntests/t.py .." + DUMP
                (frame,) = read(b"".join(written(text, write)))
                self.assertEqual(record(frame)["where"], "app.py:7 in collect")
                self.assertEqual(record(frame)["summary"], "SIGSEGV: Segmentation fault")

    def test_entry_of_several_lines(self) -> None:
        """journalctl puts blanks before all lines but the first."""
        begin = b"Nov 22 10:11:12 host python3[4242]: "
        for text in (TRACEBACK, DUMP):
            first, *others = text.splitlines(keepends=True)
            stream = begin + first + b"".join(b" " * len(begin) + line for line in others)
            self.check(stream + begin + b"next\n", text, tracebacks=True)

    def test_folded(self) -> None:
        for text in (TRACEBACK, DUMP):
            one = text.rstrip()
            quoted = one.replace(b'"', b'\\"').replace(b"\n", b"\\n")
            for stream in (
                b"Nov 22 10:11:12 host app: failed " + one.replace(b"\n", b"#012"),
                b'level=error error="' + quoted + b'" user=7',
                b"failed: b'" + one.replace(b"\n", b"\\n") + b"'",
            ):
                self.check(b"on\n" + stream + b"\nnext\n", one + b"\n", tracebacks=True)
                self.check(
                    b"x  | on\nx  | " + stream + b"\nx  | next\n", one + b"\n", tracebacks=True
                )

    def test_json_of_any_key(self) -> None:
        text = TRACEBACK.decode().rstrip()
        for entry in (
            {"event": "failed", "exception": text},
            {"message": "failed", "exc_info": text},
            {"message": "failed", "error": {"stack_trace": text}},
            {"x": "y" * 400, "message": "failed\n" + text},
        ):
            line = json.dumps(entry).encode() + b"\n"
            other = json.dumps({"message": "next"}).encode() + b"\n"
            for begin in (b"", b"web-1  | "):
                stream = begin + other + begin + line + begin + line + begin + other
                self.check(stream, TRACEBACK, TRACEBACK, tracebacks=True)

    def test_partial_lines_of_the_kubelet(self) -> None:
        begin = "2026-11-22T10:11:S.678901Z stderr "
        stream = b""
        for number, line in enumerate(REPORT.splitlines(keepends=True)):
            half = len(line) // 2
            if number > 1 and half:
                stream += lines(begin + "P ")(line[:half] + b"\n", number)
                line = line[half:]
            stream += lines(begin + "F ")(line, number)
        self.check(stream, REPORT)

    def test_ends_of_lines_of_two_characters(self) -> None:
        for text in (REPORT, REPORT * 3):
            self.check(
                b"INFO\r\n" + text.replace(b"\n", b"\r\n"), *[REPORT] * (len(text) // len(REPORT))
            )
        for frame in read(DUMP.replace(b"\n", b"\r\n")):
            self.assertEqual(record(frame)["where"], "app.py:7 in collect")

    def test_what_looks_prefixed_inside_a_report_stays(self) -> None:
        quoted = b"".join(written(REPORT, FORMATS["kubelet"]))
        body = b"Traceback (most recent call last):\nValueError: %s" % quoted
        report = b"crashenv: report kind=exception bytes=%d\n%s" % (len(body), body)
        self.check(report * 3, *[report] * 3)
        self.check(quoted + report, REPORT, report)

    def test_raw_reports_among_prefixed_lines(self) -> None:
        write = FORMATS["journald"]
        prefixed = b"".join(written(REPORT, write))
        self.check(REPORT + prefixed + REPORT + DUMP, REPORT, REPORT, REPORT, DUMP)

    def test_many_writers(self) -> None:
        stream = b"".join(
            b"".join(written(REPORT, lines("Nov 22 10:11:SS host app[%d]: " % pid)))
            for pid in range(100, 160)
        )
        self.assertEqual(len(read(stream)), 60)

    def test_only_looks_like_a_prefix(self) -> None:
        rest = b"Current thread 0x00007fa369115740 (most recent call first):\n"
        dump = b"Fatal Python error: Aborted\n\n" + rest + b'  File "t.py", line 12 in test\n'
        self.check(b"collected 3 items\ntests/t.py .." + dump, dump)
        self.check(b"said Fatal Python error: no\nnothing of the kind\n")

    def test_random_logs_lose_nothing(self) -> None:
        chance = random.Random(7)
        for seed in range(200):
            chance.seed(seed)
            pieces, expected = [], 0
            for _ in range(chance.randrange(1, 6)):
                write = chance.choice([*FORMATS.values(), lambda line, number: line])
                pieces.append(b"".join(written(chance.choice((REPORT, DUMP)), write)))
                pieces.append(chance.choice((b"INFO x\n", b"INFO\n" * 20)))
                expected += 1
            with self.subTest(seed=seed):
                stream = b"".join(pieces)
                frames = read(stream, chance.choice((1 << 20, 13, 1000)))
                self.assertEqual(len(frames), expected, stream.decode())


class Tracebacks(unittest.TestCase):
    def records(self, text: bytes) -> list[dict[str, Any]]:
        return [dict(record(frame)) for frame in read(text, tracebacks=True)]

    def test_logging(self) -> None:
        text = b"ERROR:root:failed\n" + TRACEBACK + b"INFO:root:going on\n\nINFO: more\n"
        (found,) = self.records(text)
        self.assertEqual(found["kind"], "traceback")
        self.assertEqual(found["summary"], "RuntimeError: cannot load")
        self.assertEqual(found["where"], "app.py:5 in <module>")
        self.assertEqual(found["exception"]["context"]["type"], "ZeroDivisionError")

    def test_several(self) -> None:
        found = self.records(TRACEBACK + TRACEBACK + b"\n" + TRACEBACK + REPORT + TRACEBACK)
        kinds = ["traceback"] * 3 + ["exception", "traceback"]
        self.assertEqual([one["kind"] for one in found], kinds)

    def test_message_of_several_lines(self) -> None:
        text = TRACEBACK + b"  more of it\n\tand more\n2026-11-22 10:11:12 INFO next\n"
        (found,) = self.records(text)
        self.assertEqual(found["exception"]["message"], "cannot load\n  more of it\n\tand more")

    def test_thread(self) -> None:
        title = b"Exception in thread Thread-1 (work):\n"
        for size in (1 << 20, 7):
            (frame,) = read(b"on\n" + title + TRACEBACK + b"next\n", size, tracebacks=True)
            self.assertEqual(frame.raw, title + TRACEBACK)
        read_back: Any = record(frame)
        self.assertEqual(read_back["thread"], "Thread-1 (work)")
        self.assertEqual(read_back["exception"]["context"]["type"], "ZeroDivisionError")
        log = Log(tracebacks=True)
        log.feed(b"on\n" + title + TRACEBACK)
        log.close()
        self.assertEqual(log.skipped, len(b"on\n"))

    def test_remote(self) -> None:
        quoted = b'concurrent.futures.process._RemoteTraceback: \n"""\n' + TRACEBACK + b'"""\n'
        link = b"\nThe above exception was the direct cause of the following exception:\n\n"
        (found,) = self.records(quoted + link + TRACEBACK)
        self.assertEqual(found["summary"], "RuntimeError: cannot load")

    def test_group(self) -> None:
        (found,) = self.records(b"INFO\n" + GROUP + b"INFO\n" + b"x\n" * 9)
        self.assertEqual(found["text"], GROUP.decode())
        summary = "ExceptionGroup: several (2 sub-exceptions): ValueError: 1; TypeError: 2"
        self.assertEqual(found["summary"], summary)

    def test_two_groups(self) -> None:
        self.assertEqual(len(self.records(GROUP + GROUP)), 2)

    def test_behind_other_text(self) -> None:
        for before in (b"ERROR:root:", b"2026-11-22 10:11:12,345 ERROR app: ", b"x" * 400):
            (found,) = self.records(before + TRACEBACK + b"next\n" + before + b"next\n")
            self.assertEqual(found["text"], TRACEBACK.decode())
        self.assertEqual(self.records(b"Caused by: x: " + TRACEBACK.partition(b"\n\n")[0]), [])

    def test_lost_indentation(self) -> None:
        text = b"".join(line.lstrip() for line in TRACEBACK.splitlines(keepends=True))
        self.assertNotEqual(text, TRACEBACK)
        (found,) = self.records(text)
        self.assertEqual(found["where"], "app.py:5 in <module>")
        self.assertEqual(found["exception"]["frames"][0]["source"], "load()")

    def test_colours_of_the_interpreter(self) -> None:
        text = TRACEBACK.replace(b'"/srv', b'\x1b[35m"/srv').replace(b'.py"', b'.py"\x1b[0m')
        (found,) = self.records(text.replace(b"RuntimeError", b"\x1b[1;35mRuntimeError\x1b[0m"))
        self.assertEqual(found["text"], TRACEBACK.decode())

    def test_no_traceback(self) -> None:
        for text in (
            b'  File "/srv/app.py", line 3, in f\n    traceback.print_stack()\nINFO: next\n',
            b'Stack (most recent call last):\n  File "/srv/app.py", line 3, in f\n    x\nINFO: x\n',
            b"Traceback (most recent call last):\n\nINFO: next\n",
            b"Traceback (most recent call last):\n",
            b"Traceback (most recent call last):\nsee above\n",
            b"He said: Traceback (most recent call last):\n",
        ):
            self.assertEqual(self.records(text + b"\n\n"), [])


if __name__ == "__main__":
    unittest.main()
