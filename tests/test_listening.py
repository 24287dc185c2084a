"""The listening side in Python: a pipe for a child, a file, raw bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unittest
from typing import Any

from tests.driver import DEADLINE, INSTALLED, ROOT, ProgramTest, wait_until
from tests.test_stream import report

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
import crashenv

CRASHES = """
import threading, sys
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
%s
raise ValueError("boom")
"""


class PipeTest(ProgramTest):
    def start(self, pipe: crashenv.Pipe, source: str, **options: Any) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", source],
            env=pipe.env(),
            pass_fds=[pipe.fd],
            stderr=subprocess.DEVNULL,
            **options,
        )
        self.addCleanup(child.wait, DEADLINE)
        return child

    def test_records_of_a_child(self) -> None:
        with crashenv.Pipe() as pipe:
            self.start(pipe, CRASHES % "")
            summaries = [record["summary"] for record in pipe]
        self.assertEqual(summaries, ["ZeroDivisionError: division by zero", "ValueError: boom"])

    def test_a_record_comes_while_the_child_runs(self) -> None:
        with crashenv.Pipe() as pipe:
            child = self.start(pipe, CRASHES % "sys.stdin.read()", stdin=subprocess.PIPE)
            records = iter(pipe)
            self.assertEqual(next(records)["kind"], "thread")
            self.assertIsNone(child.poll())
            assert child.stdin
            child.stdin.close()
            self.assertEqual([record["kind"] for record in records], ["exception"])

    def test_a_dump_comes_while_another_process_holds_the_pipe(self) -> None:
        source = """
import os, sys
if os.fork():
    os.wait()
    sys.stdin.read()
else:
    os.abort()
"""
        with crashenv.Pipe() as pipe:
            child = self.start(pipe, source, stdin=subprocess.PIPE)
            records = iter(pipe)
            dump = next(records)["dump"]
            assert dump and child.stdin
            self.assertEqual(dump["signal"], "SIGABRT")
            self.assertIsNone(child.poll())
            child.stdin.close()
            self.assertEqual(list(records), [])

    def test_a_child_without_a_crash_gives_nothing(self) -> None:
        with crashenv.Pipe() as pipe:
            self.start(pipe, "pass")
            self.assertEqual(list(pipe), [])

    def test_environment_is_the_given_one(self) -> None:
        with crashenv.Pipe() as pipe:
            env = pipe.env({"A": "b", "PYTHONPATH": "/x", "PYDEBUG": "crashfile=/y,crashlimit=2K"})
        self.assertEqual(env["A"], "b")
        self.assertTrue(env["PYTHONPATH"].endswith(os.pathsep + "/x"))
        self.assertRegex(env["PYDEBUG"], r"\Acrashfd=\d+:\d+:\d+,crashlimit=2K\Z")

    def test_nothing_stays_open(self) -> None:
        before = os.listdir("/proc/self/fd")
        with crashenv.Pipe() as pipe:
            self.assertGreater(len(os.listdir("/proc/self/fd")), len(before))
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        pipe.close()
        self.assertRaises(OSError, pipe.env)


class ReadTest(ProgramTest):
    def test_file(self) -> None:
        path = self.folder / "crash.log"
        path.write_bytes(b"a line of a log\n" + report() + report())
        self.assertEqual(len(list(crashenv.read(path))), 2)
        self.assertEqual(len(list(crashenv.read(str(path)))), 2)

    def test_file_that_grows(self) -> None:
        path = self.folder / "crash.log"
        path.write_bytes(report())
        found: list[Any] = []

        def follow() -> None:
            for record in crashenv.read(path, follow=True):
                found.append(record)
                if len(found) == 2:
                    return

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        wait_until(lambda: found, "the first record")
        with open(path, "ab") as file:
            file.write(report())
        thread.join(DEADLINE)
        self.assertEqual(len(found), 2)

    def test_errors_name_their_subject(self) -> None:
        with self.assertRaisesRegex(OSError, "no-such-file"):
            list(crashenv.read("no-such-file"))
        path: Any = b"bytes"
        with self.assertRaisesRegex(TypeError, "path must be .* not b'bytes'"):
            crashenv.read(path)


class ReaderTest(unittest.TestCase):
    def test_pieces_of_any_size(self) -> None:
        stream = report() + report()
        for size in (1, 7, len(stream)):
            reader = crashenv.Reader()
            pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
            found = [record for piece in pieces for record in reader.feed(piece)]
            self.assertEqual(len(found + reader.close()), 2, size)

    def test_dump_is_complete_when_it_is_flushed_and_a_cut_report_at_the_end(self) -> None:
        reader = crashenv.Reader()
        dump = b"Fatal Python error: Aborted\n\nCurrent thread 0x01 (most recent call first):\n"
        self.assertEqual(reader.feed(dump), [])
        self.assertEqual([record["kind"] for record in reader.flush()], ["dump"])
        self.assertEqual(reader.feed(report()[:-5]), [])
        self.assertEqual([record["damage"] for record in reader.close()], ["truncated"])

    def test_names_are_public(self) -> None:
        self.assertLessEqual({"Pipe", "Reader", "read"}, set(crashenv.__all__))
        for name in crashenv.__all__:
            self.assertTrue(callable(getattr(crashenv, name)), name)
        self.assertEqual(dir(crashenv), sorted(crashenv.__all__))
        self.assertRaises(AttributeError, getattr, crashenv, "nothing")


if __name__ == "__main__":
    unittest.main()
