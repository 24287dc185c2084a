"""Frames from bytes: whole, cut, damaged, quoted, among other lines, in pieces."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import unittest

from tests.driver import INSTALLED, PYPY, ROOT, importable

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading.frames import LARGEST, Frame, Splitter
from tests import fuzz_streams

A = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nValueError: boom\n'
DUMP = (
    b"Fatal Python error: Segmentation fault\n\n"
    b'Thread 0x00007f01 (most recent call first):\n  File "a.py", line 3 in wait\n\n'
    b'Current thread 0x00007f02 [main] (most recent call first):\n  File "a.py", line 6 in f\n\n'
    b"Current thread's C stack trace (most recent call first):\n"
    b'  Binary file "python3.15", at _Py_DumpStack+0x4a [0x4a12b9]\n\n'
    b"Extension modules: a, b (total: 2)\n"
)
# Cases that failed once.
SEEDS = (331, 822, 1457, 3276, 5752, 6264, 8263, 9985, 11088, 11280, 11382, 47443, 68669)
MORE_SEEDS = (70910, 85876, 98614, 99971, 152256, 171693)


def report(body: bytes = A, pid: int = 1) -> bytes:
    return b"crashenv: report kind=exception pid=%d bytes=%d\n%s" % (pid, len(body), body)


def split(stream: bytes, size: int = 1 << 20) -> tuple[list[Frame], int]:
    """Return the frames, and how many bytes were skipped."""
    return fuzz_streams.split(stream, [size])


class StreamTest(unittest.TestCase):
    def check(self, stream: bytes, *expected: tuple[bytes, str | None], skipped: int = 0) -> None:
        """Check for these frames and this damage, however the stream is cut into pieces."""
        for size in (1 << 20, 1, 5, 64):
            frames, passed = split(stream, size)
            found = [(frame.raw, frame.damage) for frame in frames]
            self.assertEqual(found, list(expected), "pieces of %d" % size)
            self.assertEqual(passed, skipped)


class Whole(StreamTest):
    def test_reports_and_dumps(self) -> None:
        self.check(report() + DUMP + report(), (report(), None), (DUMP, None), (report(), None))

    def test_header_and_body(self) -> None:
        (frame,), _ = split(
            b"crashenv: report kind=thread thread=a%20%25%C3%A9 new=x bytes=2\n\xff\n"
        )
        self.assertEqual(frame.kind, "report")
        self.assertEqual(
            frame.fields, {"kind": "thread", "thread": "a %é", "new": "x", "bytes": "2"}
        )
        self.assertEqual(frame.body, b"\xff\n")

    def test_values_that_are_no_good_encoding(self) -> None:
        (frame,), _ = split(b"crashenv: report a=%zz b=%f c=%FF bytes=1\n\n")
        self.assertEqual([frame.fields[key] for key in "abc"], ["%zz", "%f", "\\xff"])

    def test_log_lines_around(self) -> None:
        lines = b"INFO a\n\nINFO b\n"
        self.check(lines + report() + lines, (report(), None), skipped=2 * len(lines))

    def test_report_is_there_with_its_last_byte(self) -> None:
        splitter = Splitter()
        self.assertEqual(splitter.feed(report()[:-1]), [])
        self.assertEqual(len(splitter.feed(report()[-1:])), 1)

    def test_dump_is_there_when_something_else_follows(self) -> None:
        # There may be a few other lines in the middle of it.
        for ended_by in (b"INFO\n" * 11, report(), DUMP):
            splitter = Splitter()
            self.assertEqual(splitter.feed(DUMP), [])
            self.assertEqual(splitter.feed(ended_by)[0].raw, DUMP)

    def test_dump_is_there_after_a_while(self) -> None:
        splitter = Splitter()
        splitter.feed(DUMP)
        self.assertEqual([frame.raw for frame in splitter.flush()], [DUMP])
        self.assertEqual(splitter.flush() + splitter.close(), [])

    def test_dump_of_many_threads_is_one(self) -> None:
        frame = b'  File "a.py", line 3 in f\n'
        stack = b"Thread 0x%016x%s (most recent call first):\n"
        others = [b"", b" [worker]", b" [worker]", b" [a b (c]", b""]
        for current in (b"Current thread 0x%016x%s (most recent call first):\n", b""):
            for name in (b"", b" [worker]"):
                threads = [stack % (number, name) + frame for number, name in enumerate(others, 1)]
                if current:
                    threads.insert(2, current % (9, name) + frame)
                dump = b"Fatal Python error: Segmentation fault\n\n" + b"\n".join(threads)
                self.check(dump, (dump, None))
                self.check(dump * 2, (dump, None), (dump, None))

    def test_dump_without_a_reason(self) -> None:
        # from crashsignal, and from the signals that enable() leaves out
        stacks = DUMP.split(b"\n\n", 1)[1]
        self.check(stacks * 3, (stacks, None), (stacks, None), (stacks, None))

    def test_stack_of_one_thread(self) -> None:
        dump = b'Stack (most recent call first):\n  File "a.py", line 3 in f\n'
        self.check(dump * 2, (dump, None), (dump, None))

    def test_log_lines_that_look_like_a_dump(self) -> None:
        lines = b"Thread 0x1 started\nTimeout (30 s)\nCurrent thread 0x1: none\n  indented\n"
        self.check(lines, skipped=len(lines))


class Quoted(StreamTest):
    """A message cannot forge a report, nor hide one."""

    def test_quoted_reports(self) -> None:
        for number in (0, 5, 40, len(report()), 10**18):
            for before in (b"", b"said: "):
                quoted = b"crashenv: report kind=exception pid=9 bytes=%d\nabc\n" % number
                body = A[:-1] + b"\n" + before + quoted
                stream = report(body) + report(pid=2)
                self.check(stream, (report(body), None), (report(pid=2), None))

    def test_quotation_that_reaches_to_the_end_of_the_next_report(self) -> None:
        for between in (b"", b"INFO one line\n"):
            following = between + report(pid=2)
            quoted = b"crashenv: report kind=exception pid=9 bytes=%d\n" % len(following)
            stream = report(A + quoted) + following
            expected = (report(A + quoted), None), (report(pid=2), None)
            self.check(stream, *expected, skipped=len(between))

    def test_header_in_a_log_line(self) -> None:
        line = b"GET /crashenv: report kind=exception pid=9 bytes=%d\n" % (len(report()) + 7)
        self.check(line + b"INFO b\n" + report(), (report(), None), skipped=len(line) + 7)


class Cut(StreamTest):
    def test_at_every_byte(self) -> None:
        for before in (b"", report(pid=3), b"INFO\n", DUMP):
            for after in (b"", report(pid=4), b"INFO\n", DUMP):
                for end in range(1, len(report())):
                    frames, _ = split(before + report()[:end] + report(pid=2) + after)
                    whole = [frame.raw for frame in frames if frame.damage is None]
                    self.assertIn(report(pid=2), whole, (before, end, after))
                    for other in (before, after):
                        if other.startswith((b"crashenv", b"Fatal")):
                            self.assertIn(other, whole, (before, end, after))

    def test_at_the_end_of_the_stream(self) -> None:
        for end in range(len(b"crashenv: report kind="), len(report())):
            (frame,), _ = split(report()[:end])
            self.assertEqual(frame.raw, report()[:end])
            self.assertIn(frame.damage, ("truncated", "damaged"))

    def test_by_the_next_report(self) -> None:
        # a writer that ran out of time leaves half a line
        cut = report()[:-20]
        self.check(cut + report(pid=2), (cut, "truncated"), (report(pid=2), None))

    def test_by_a_dump(self) -> None:
        cut = report()[:-20]
        self.check(cut + DUMP, (cut, "truncated"), (DUMP, None))

    def test_dump_by_a_report(self) -> None:
        for end in range(60, len(DUMP)):
            frames, _ = split(DUMP[:end] + report(), 50)
            self.assertEqual([frame.kind for frame in frames], ["dump", "report"], end)
            self.assertEqual(frames[-1].raw, report())

    def test_damaged_header(self) -> None:
        damaged = report().replace(b" bytes=", b" byt=")
        self.check(damaged + report(pid=2), (damaged, "damaged"), (report(pid=2), None))
        (frame, _), _ = split(damaged + report())
        self.assertEqual((frame.fields["pid"], frame.body), ("1", A))

    def test_length_that_is_too_small(self) -> None:
        damaged = report().replace(b"bytes=%d" % len(A), b"bytes=9")
        frames, _ = split(damaged + report(pid=2))
        self.assertEqual([frame.damage for frame in frames], ["damaged", None])


class Large(StreamTest):
    """A large announced size, or a missing end, does not use memory."""

    def test_length_of_10_to_the_18(self) -> None:
        for number in (10**18, 10**19, LARGEST + 1):
            stream = b"crashenv: report kind=exception bytes=%d\n" % number
            reports = [report(pid=n) for n in range(3)]
            expected = [(stream, "truncated"), *((raw, None) for raw in reports)]
            self.check(stream + b"".join(reports), *expected)

    def test_middle_of_a_large_report_is_dropped(self) -> None:
        size = 3 * LARGEST
        body = b"first line\n" + b"x" * size + b"\nlast line\n"
        frames, skipped = split(report(body) + report(pid=2), 1 << 16)
        self.assertEqual([frame.damage for frame in frames], [None, None])
        large, after = frames
        self.assertEqual(skipped, 0)
        self.assertEqual(after.raw, report(pid=2))
        self.assertLess(len(large.raw), LARGEST + 1000)
        self.assertTrue(large.body.startswith(b"first line\n"))
        self.assertTrue(large.body.endswith(b"\nlast line\n"))
        omission = b"\n[crashenv: %d bytes left out]\n" % large.omitted
        self.assertEqual(len(large.body) + large.omitted - len(omission), len(body))
        self.assertIn(omission, large.body)

    def test_largest_report_that_is_kept_whole(self) -> None:
        body = b"x" * (LARGEST - 1) + b"\n"
        (frame,), _ = split(report(body), 1 << 16)
        self.assertEqual(frame.body, body)

    @unittest.skipIf(PYPY, "PyPy keeps what was freed until it collects garbage")
    def test_memory(self) -> None:
        """Of 32 MiB, in each case less than 24 MiB are kept."""
        source = """
            import resource, sys
            from crashenv._reading.frames import Splitter
            def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            header = b"crashenv: report kind=exception bytes=%d\\n"
            dump = b"Current thread 0x01 (most recent call first):\\n"
            before = peak()
            for start, piece in (
                (b"", b"x"),
                (b"", b"\\n"),
                (header % 10**18, b"x"),
                (header % 10**9, b"crashenv: report "),
                (b"crashenv: report kind=x", b" "),
                (dump, b'  File "a.py", line 1 in f\\n'),
                (dump + b"  ", b"x"),
            ):
                splitter = Splitter()
                splitter.feed(start)
                chunk = piece * (65536 // len(piece))
                frames = [splitter.feed(chunk) for _ in range(512)]
                splitter.close()
            print(peak() - before)
        """
        command = [sys.executable, "-c", textwrap.dedent(source)]
        output = subprocess.check_output(command, env={"PYTHONPATH": importable()})
        self.assertLess(int(output), 24 << 10, "KiB")


class LongLines(unittest.TestCase):
    """A line of a dump or a traceback that is longer than 64 KiB, in one piece."""

    def test_rest_is_skipped(self) -> None:
        for start in (b"Timeout (", b"Traceback (most recent call last):", b"Thread 0x1 "):
            with self.subTest(start=start):
                line = start + b"x" * 200_000 + b"\n"
                splitter = Splitter(tracebacks=True)
                frames = splitter.feed(line + report()) + splitter.close()
                self.assertEqual([frame.raw for frame in frames], [report()])
                self.assertEqual(splitter.skipped, len(line))

    def test_fatal_error_is_a_dump(self) -> None:
        line = b"Fatal Python error: " + b"x" * 200_000 + b"\n"
        frames, skipped = split(line + report())
        self.assertEqual([frame.kind for frame in frames], ["dump", "report"])
        self.assertEqual(len(frames[0].raw) + skipped, len(line))

    def test_many_in_one_dump(self) -> None:
        stream = b"Fatal Python error: x\n" + (b"  " + b"x" * 200_000 + b"\n") * 30
        (frame,), skipped = split(stream)
        self.assertTrue(frame.omitted)
        self.assertGreater(skipped, 0)


class ManyLines(unittest.TestCase):
    """Lines that are taken together are read as those that come one by one."""

    def check(self, stream: bytes, number: int) -> None:
        found = []
        for size in (1 << 20, 7):
            splitter = Splitter(tracebacks=True)
            frames = []
            for position in range(0, len(stream), size):
                frames += splitter.feed(stream[position : position + size])
            frames += splitter.close()
            found.append([(frame.raw, frame.omitted) for frame in frames])
        self.assertEqual(len(found[0]), number)
        self.assertEqual(found[0], found[1])

    def test_traceback(self) -> None:
        lines = b'  File "a.py", line 1, in f\n    g()\n' * 20_000
        self.check(b"Traceback (most recent call last):\n" + lines + b"ValueError: x\n", 1)

    def test_quotation(self) -> None:
        start = b'multiprocessing.pool.RemoteTraceback: \n"""\n' + A + b"any\n" * 1000
        self.check(
            start + b'"""\n\n' + b"The above exception was the direct cause of the "
            b"following exception:\n\n" + A,
            1,
        )

    def test_dump(self) -> None:
        fatal = b"Fatal Python error: Aborted\n"
        stack = b"Thread 0x1 (most recent call first):\n" + b"  y\n" * 9000
        self.check(fatal + b"  x\n" * 300_000 + b"  " + fatal + stack, 2)

    def test_timeouts(self) -> None:
        stack = b'Thread 0x1 (most recent call first):\n  File "a.py", line 3 in f\n'
        self.check(b"Timeout (0:00:01)!\n" * 1000 + stack, 1)


class Fuzzed(unittest.TestCase):
    """A few of the cases of ``fuzz_streams.py``."""

    def test_cases_that_failed_once(self) -> None:
        for seed in SEEDS + MORE_SEEDS:
            self.assertEqual(fuzz_streams.run(seed), "", seed)

    def test_some_more(self) -> None:
        for seed in range(400):
            self.assertEqual(fuzz_streams.run(seed), "", seed)

    def test_it_finds_what_is_wrong(self) -> None:
        made = fuzz_streams.Stream()
        made.add(report(), is_report=True)
        self.assertIn("lost", fuzz_streams.missing(made, []))
        made.replace(3, 4, b"")
        self.assertEqual(fuzz_streams.missing(made, []), "")
