"""Tracebacks compared with the exceptions themselves, and texts that are not tracebacks."""

from __future__ import annotations

import random
import sys
import traceback
import unittest
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading import tracebacks
from crashenv._reading.build import record
from crashenv._reading.encode import to_json
from crashenv._reading.frames import Frame

GROUPS = sys.version_info >= (3, 11)


def raised(fail: Callable[[], Any]) -> BaseException:
    try:
        fail()
    except BaseException as error:
        return error
    raise AssertionError("did not fail")


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def parse(text: str) -> dict[str, Any]:
    exception = tracebacks.parse(text)
    assert exception is not None, text
    return dict(exception)


def report(text: str, **fields: str) -> dict[str, Any]:
    """Return the record of a report with this body."""
    header = "".join(" %s=%s" % item for item in {"kind": "exception", **fields}.items())
    line = ("crashenv: report%s bytes=%d\n" % (header, len(text.encode()))).encode()
    return dict(record(Frame("report", line + text.encode(), line)))


def load(path: str) -> str:
    return {"a": "b"}[path]


def recurse(depth: int) -> int:
    return recurse(depth - 1) if depth else 1 // 0


def chain() -> None:
    try:
        load("x")
    except KeyError as error:
        try:
            raise ValueError("two\n lines") from error
        except ValueError:
            1 // 0  # noqa: B018


FAILURES: dict[str, Callable[[], Any]] = {
    "frames": lambda: load("c"),
    "recursion": lambda: recurse(50),
    "chain": chain,
    "no message": lambda: exec("raise ValueError"),
    "lines": lambda: exec("raise ValueError('a\\n\\n  b\\n')"),
    "syntax": lambda: compile("x = (1 +\n", "some file.py", "exec"),
    "colons": lambda: exec("raise RuntimeError('a: b: c')"),
    "no module": lambda: __import__("no.such.module"),
    "unicode": lambda: exec("raise ValueError('größe \\N{SNOWMAN}')"),
}


class Comparison(unittest.TestCase):
    """The parsed values are those of the exception itself."""

    def check(self, parsed: dict[str, Any], shown: Any) -> None:
        """Compare with a TracebackException."""
        name = getattr(shown, "exc_type_str", None) or shown.exc_type.__name__
        self.assertEqual(parsed["type"].rpartition(".")[2], name.rpartition(".")[2])
        if name == "SyntaxError":
            self.assertEqual(parsed["message"], shown.msg)
            place = parsed["syntax"]
            self.assertEqual((place["file"], str(place["line"])), (shown.filename, shown.lineno))
        else:
            self.assertEqual(parsed["message"], str(shown))
        frames = [frame for frame in parsed["frames"] for _ in range(frame["repeated"] + 1)]
        self.assertEqual(
            [(f["file"], f["line"], f["function"]) for f in frames],
            [(f.filename, f.lineno, f.name) for f in shown.stack],
        )
        for frame, real in zip(frames, shown.stack):
            first = (frame["source"] or "").partition("\n")[0]
            self.assertEqual(first, (real.line or "").partition("\n")[0])
        context = None if shown.__suppress_context__ else shown.__context__
        links = {"cause": shown.__cause__, "context": None if shown.__cause__ else context}
        for key, link in links.items():
            self.assertEqual(parsed[key] is None, link is None, key)
            if link is not None:
                self.check(parsed[key], link)
        parts = getattr(shown, "exceptions", None) or ()
        self.assertEqual(len(parsed["exceptions"]), len(parts))
        for child, part in zip(parsed["exceptions"], parts):
            self.check(child, part)

    def check_error(self, error: BaseException) -> None:
        shown = traceback.TracebackException.from_exception(error)
        self.check(parse("".join(shown.format())), shown)

    def test_failures(self) -> None:
        for name, fail in FAILURES.items():
            error = raised(fail)
            with self.subTest(name):
                self.check_error(error)

    @unittest.skipUnless(GROUPS, "needs exception groups")
    def test_groups_of_groups(self) -> None:
        group: Any = vars(__import__("builtins")).get("ExceptionGroup")
        choose = random.Random(5)
        errors = [raised(fail) for fail in FAILURES.values()]
        for _ in range(40):
            inner = group("inner", choose.sample(errors, 2))
            middle = raised(partial(raise_, inner))
            outer = group("outer\nlines", [middle, *choose.sample(errors, 3), inner])
            error = choose.choice([outer, raised(partial(raise_, outer, middle))])
            self.check_error(error)


def raise_(error: BaseException, cause: BaseException | None = None) -> None:
    if cause is None:
        raise error
    raise error from cause


class Parts(unittest.TestCase):
    def test_what_leads_up_to_it(self) -> None:
        for line in (
            "Exception in thread Thread-1 (work):",
            "Exception in thread two\nlines:",
            "Exception ignored in thread started by: <function work at 0x7f>",
            "Exception ignored in thread 1234 started by  <function work at 0x7f>",
            "Process Process-1:",
        ):
            parsed = parse(line + "\n" + text_of(raised(FAILURES["frames"])))
            self.assertEqual(parsed["type"], "KeyError")
            self.assertEqual(len(parsed["frames"]), 3)

    def test_notes_are_told_apart_by_the_header(self) -> None:
        text = "Traceback (most recent call last):\nValueError: a\nb\nc\nd\n"
        self.assertEqual(report(text)["exception"]["message"], "a\nb\nc\nd")
        with_notes = report(text, notes="2,1")["exception"]
        self.assertEqual((with_notes["message"], with_notes["notes"]), ("a", ["b\nc", "d"]))
        for wrong in ("9", "x", "", "1,,1", "-1", "0"):
            self.assertEqual(report(text, notes=wrong)["exception"]["notes"], [])

    def test_previous_line_repeated(self) -> None:
        line = '  File "a.py", line 1, in f\n    f()\n'
        for number, message in ((1, "time"), (995, "times")):
            text = line * 3 + "  [Previous line repeated %d more %s]\nE: x\n" % (number, message)
            frames = parse("Traceback (most recent call last):\n" + text)["frames"]
            self.assertEqual([frame["repeated"] for frame in frames], [0, 0, number])

    def test_marked_columns(self) -> None:
        for source, marks, columns in (
            ("a.b + c", "~~~~^^^", [0, 7]),
            ("f(a)(b)", " ^^^", [1, 4]),
            ("日本.x", "^^^^^^", [0, 4]),
        ):
            text = '  File "a.py", line 1, in f\n    %s\n    %s\nE: x\n' % (source, marks)
            (frame,) = parse("Traceback (most recent call last):\n" + text)["frames"]
            self.assertEqual((frame["source"], frame["columns"]), (source, columns))

    def test_stacks_of_other_threads(self) -> None:
        text = text_of(raised(FAILURES["frames"]))
        text += (
            '\nThread 0x00000a [it [is]] (most recent call first):\n  File "a.py", line 3 in f\n'
        )
        text += '\nThread 0x00000b (most recent call first):\n  File "b.py", line 4 in g\n  ...\n'
        made = report(text)
        self.assertEqual(made["exception"]["message"], "'c'")
        self.assertEqual([t["name"] for t in made["threads"]], ["it [is]", None])
        self.assertEqual(made["threads"][1]["frames"][0]["function"], "g")

    def test_summary_and_place(self) -> None:
        made = report(
            "Traceback (most recent call last):\n"
            '  File "/srv/app.py", line 12, in load\n'
            '  File "/usr/lib/python3.12/json/decoder.py", line 337, in decode\n'
            "json.JSONDecodeError: first\nsecond\n"
        )
        self.assertEqual(made["summary"], "json.JSONDecodeError: first")
        self.assertEqual(made["where"], "app.py:12 in load")

    def test_omitted_bytes(self) -> None:
        self.assertEqual(report("E: x\n[crashenv: 12 bytes left out]\ny\n")["omitted"], 12)
        self.assertEqual(report("E: [crashenv: 12 bytes left out]\n")["omitted"], 0)


class Fingerprints(unittest.TestCase):
    TEXT = (
        "Traceback (most recent call last):\n"
        '  File "/srv/releases/1/app.py", line 3, in main\n    load()\n'
        '  File "/srv/releases/1/app.py", line 9, in load\n    1/0\n'
        '  File "/usr/lib/python3.12/json/decoder.py", line 337, in decode\n'
        "ValueError: no order 1234 at 0x7f00\n"
    )

    def fingerprint(self, text: str) -> str:
        return str(report(text)["fingerprint"])

    def test_the_same(self) -> None:
        for old, new in (
            ("line 9", "line 10"),
            ("1234", "99"),
            ("0x7f00", "0x8f11"),
            ("releases/1", "releases/2"),
            ("python3.12/json/decoder.py", "python3.13/json/scanner.py"),
            ("    1/0\n", ""),
        ):
            changed = self.TEXT.replace(old, new)
            self.assertNotEqual(changed, self.TEXT)
            self.assertEqual(self.fingerprint(changed), self.fingerprint(self.TEXT), new)

    def test_another(self) -> None:
        for old, new in (("in load", "in save"), ("ValueError", "KeyError")):
            changed = self.TEXT.replace(old, new)
            self.assertNotEqual(self.fingerprint(changed), self.fingerprint(self.TEXT), new)

    def test_depth_of_a_recursion(self) -> None:
        shallow, deep = (text_of(raised(partial(recurse, n))) for n in (20, 60))
        self.assertEqual(self.fingerprint(shallow), self.fingerprint(deep))

    def test_library_alone(self) -> None:
        text = self.TEXT.replace("/srv/releases/1", "/usr/lib/python3.12")
        self.assertNotEqual(self.fingerprint(text), self.fingerprint(text.replace("load", "save")))


class Bounds(unittest.TestCase):
    """Too much is cut, and the record says so."""

    def test_long_chain(self) -> None:
        link = "\n\nThe above exception was the direct cause of the following exception:\n\n"
        text = link.join("ValueError: %d" % n for n in range(10_000))
        messages, left_out = [], 0
        error: Any = parse(text)
        while error is not None:
            messages.append(int(error["message"]))
            left_out += error["omitted"]
            error = error["cause"]
        self.assertEqual(messages, [*range(9_999, 9_989, -1), *range(9, -1, -1)])
        self.assertEqual(left_out, 10_000 - len(messages))
        self.assertEqual(report(text)["exception"]["message"], "9999")

    def test_deep_groups(self) -> None:
        lines = ["  + Exception Group Traceback (most recent call last):"]
        for depth in range(1, 300):
            lines.append("  " * depth + "| ExceptionGroup: %d (1 sub-exception)" % depth)
            lines.append("  " * depth + "+-+---------------- 1 ----------------")
        text = "\n".join(lines) + "\n"
        made = report(text)
        nesting = max_depth(made)
        self.assertLess(nesting, 50)
        self.assertTrue(to_json(made))

    def test_deepest_record_nests_less_than_256_deep(self) -> None:
        # the depth that jq 1.6 accepts
        link = "The above exception was the direct cause of the following exception:"
        lines = []
        for depth in range(1, 40):
            margin = "  " * depth + "| "
            if depth == 1:
                lines.append("  + Exception Group Traceback (most recent call last):")
            for number in range(30):
                lines.append(margin + "ValueError: %d" % number)
                lines += [margin, margin + link, margin]
            lines.append(margin + "ExceptionGroup: %d (1 sub-exception)" % depth)
            lines.append("  " * depth + "+-+---------------- 1 ----------------")
        self.assertLess(max_depth(report("\n".join(lines) + "\n")), 256)


def max_depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        containers = [v for v in level if isinstance(v, (dict, list))]
        level = [x for v in containers for x in (v.values() if isinstance(v, dict) else v)]
    return depth


class AnyText(unittest.TestCase):
    def test_many_omissions(self) -> None:
        # each was once searched to the end: that took half an hour
        text = "  x\n[crashenv: 1 bytes left out]\n" * 100_000
        self.assertEqual(report(text)["omitted"], 1)

    def test_pieces_of_tracebacks_in_any_order(self) -> None:
        texts = [text_of(raised(fail)) for fail in FAILURES.values()]
        pieces = [piece for text in texts for piece in text.split("\n")]
        pieces += [
            "  + Exception Group Traceback (most recent call last):",
            "  | ExceptionGroup: x (1 sub-exception)",
            "  +-+---------------- 1 ----------------",
            "    +---------------- 2 ----------------",
            "    +------------------------------------",
            "    | ValueError: x",
            "The above exception was the direct cause of the following exception:",
            "[crashenv: 12 bytes left out]",
            "Thread 0x00007f (most recent call first):",
            "",
            "\x00\x85\u2028",
        ]
        choose = random.Random(3)
        for _ in range(1500):
            text = "\n".join(choose.choices(pieces, k=choose.randrange(12)))
            made = report(text + choose.choice(["", "\n"]))
            self.assertEqual(made["text"].rstrip("\n"), text.rstrip("\n"))
            self.assertTrue(to_json(made))
