"""``crashenv html``: a self-contained page, which no record can take over."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.driver import CommandTest, wait_until
from tests.test_list import report

HOSTILE = (
    "<script>alert(1)</script>",
    "</pre></details></style></script><img src=x onerror=alert(1)>",
    "\"' onmouseover=alert(1) x='",
    "<!-- --> ]]> <![CDATA[ &lt;b&gt; &#60;",
    "\x00\x1b[31m\u202etxt.exe\u2066\ud800\u2028",
    "%s %(style)s {0} ${x} \\u003cscript\\u003e",
    "javascript:alert(1)",
)
ELEMENTS = (
    "html head meta title style body a header h1 h2 h3 p main ul li b form label input "
    "select option button div details summary span svg path line dl dt dd section ol pre "
    "mark code footer script"
)
ATTRIBUTES = (
    "lang charset http-equiv content name class href id hidden aria-label type "
    "autocomplete value role data-kind data-count data-times data-programs aria-hidden "
    "viewbox d x1 y1 x2 y2 tabindex open"
)


class Page(HTMLParser):
    """The page as a browser would see it: elements, their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        return sum(
            name == tag and attributes.items() <= given.items() for name, given in self.elements
        )


def hostile_record(text: str, number: int) -> dict[str, Any]:
    """Return a record in which each string is ``text``."""
    frame: dict[str, Any] = {
        "file": text,
        "line": 1,
        "function": text,
        "source": text,
        "columns": [1, 3],
    }
    frame["repeated"] = 2
    exception: dict[str, Any] = {"type": text, "message": text, "notes": [text], "frames": [frame]}
    exception.update(syntax={"file": text, "line": 1, "text": text, "columns": None})
    exception.update(cause=None, context=None, exceptions=[], omitted=1)
    exception["exceptions"] = [dict(exception)]
    exception["cause"] = {**exception, "exceptions": []}
    thread = {"id": text, "name": text, "current": True, "frames": [frame]}
    c_frame = {"file": text, "symbol": text, "offset": text, "address": text}
    dump: dict[str, Any] = {
        "reason": text,
        "signal": text,
        "threads": [thread],
        "c_stack": [c_frame],
    }
    dump["extension_modules"] = [text]
    return {
        "schema": 1,
        **dict.fromkeys(("id", "kind", "thread", "process", "python", "program", "damage"), text),
        **dict.fromkeys(("summary", "where", "text", "stderr", "last_words"), text),
        "time": "2026-11-20T10:11:12.345678Z",
        "pid": 7,
        "tid": 7,
        "omitted": 1,
        "fingerprint": "%s%d" % (text, number),
        "header": {text: text},
        "lost": 3,
        "tags": {"host": text, text: text},
        "exception": exception,
        "threads": [thread],
        "dump": dump,
        "command": [text, text],
        "parent": 3,
        "ending": {"status": None, "signal": text, "core": True, "run_time": 1.0},
    }


def line(record: dict[str, Any]) -> str:
    """Return the record as "crashenv parse" prints it."""
    return json.dumps(record, separators=(",", ":")) + "\n"


class HtmlTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.env["TZ"] = "UTC"

    def source(self, content: bytes, *options: str, status: int = 0) -> str:
        path = self.folder / "crash.log"
        path.write_bytes(content)
        result = self.crashenv("html", "-q", "-o", "-", *options, str(path))
        self.assertEqual((result.status, result.stderr), (status, b""), str(result))
        return result.stdout.decode()

    def of_records(self, *records: dict[str, Any]) -> str:
        return self.source("".join(line(record) for record in records).encode())

    def check_harmless(self, source: str) -> Page:
        """Check that all elements, attributes and addresses are those of the page itself."""
        page = Page(source)
        for tag, attributes in page.elements:
            self.assertIn(tag, ELEMENTS.split())
            self.assertLessEqual(set(attributes), set(ATTRIBUTES.split()), tag)
            self.assertRegex(attributes.get("href", "#"), "^#")
        self.assertEqual((page.count("script"), page.count("style")), (1, 1))
        self.assertNotRegex(source, r"(?i)https?:|@import|url\(")
        return page


class Contents(HtmlTest):
    def test_kinds_and_the_line_that_raised(self) -> None:
        log = [report("ValueError: a"), report("ValueError: b"), report("KeyError: 1", 7, "g")]
        page = self.check_harmless(self.source(b"".join(log)))
        self.assertEqual(page.count("details", **{"class": "kind"}), 2)
        self.assertEqual(page.count("details", **{"data-count": "2"}), 1)
        for part in ("3 crashes of 2 kinds", "ValueError: b", "a.py:7 in g", "2026-11-20 10:11:12"):
            self.assertIn(part, page.text)

    def test_the_store(self) -> None:
        path = self.write("app.py", "def load(): raise ValueError('of a file')\nload()\n")
        self.run_monitored([sys.executable, path], "--quiet")
        result = self.crashenv("html", cwd=self.folder)
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(
            result.stderr, b"crashenv html: 1 crash of 1 kind in crashes.html\n", str(result)
        )
        written = self.folder / "crashes.html"
        self.assertEqual(stat.S_IMODE(written.stat().st_mode), 0o600)
        self.assertIn("ValueError: of a file", Page(written.read_text("utf-8")).text)
        self.assertEqual(list(self.folder.glob("*.unfinished")), [])

    def test_libraries_fold_and_the_program_is_open(self) -> None:
        text = 'Traceback (most recent call last):\n  File "/app/a.py", line 1, in f\n    go()\n'
        text += '  File "/usr/lib/python3.13/json/x.py", line 2, in load\n    raise E\n'
        text += "E: told\n"
        header = "crashenv: report kind=exception program=/app/a.py bytes=%d\n" % len(text)
        source = self.source((header + text).encode())
        self.assertRegex(source, "<summary>1 frame of libraries: x.py</summary>")
        self.assertLess(source.index("<li class=own>"), source.index("1 frame of libraries"))

    def test_marked_columns(self) -> None:
        record = hostile_record("total = <a> / b", 0)
        source = self.of_records(record)
        self.assertIn("t<mark>ot</mark>al = &lt;a&gt; / b", source)

    def test_nothing(self) -> None:
        path = self.write("empty.log", "nothing\n")
        result = self.crashenv("html", "-o", "-", path)
        self.assertEqual(result.status, 1, str(result))
        self.assertIn("0 crashes of 0 kinds", Page(result.stdout.decode()).text)
        self.assertIn(b"no crashes in", result.stderr)

    def test_where_it_cannot_be_written(self) -> None:
        log = self.folder / "crash.log"
        log.write_bytes(report("ValueError: a"))
        text = self.check_complaint("html", "-o", "/nowhere/x.html", str(log), status=2)
        self.assertIn("No such file or directory", text)

    def test_the_policy_lets_only_our_own_run(self) -> None:
        source = self.source(report("ValueError: a"))
        (policy,) = re.findall('Content-Security-Policy content="([^"]*)"', source)
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        for tag in ("style", "script"):
            (text,) = re.findall("<%s>(.*?)</%s>" % (tag, tag), source, re.S)
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            self.assertIn("%s-src 'sha256-%s'" % (tag, digest), policy)


class Hostile(HtmlTest):
    def test_no_text_becomes_markup(self) -> None:
        records = [hostile_record(text, n) for n, text in enumerate(HOSTILE)]
        page = self.check_harmless(self.of_records(*records))
        self.assertEqual(page.count("details", **{"class": "kind"}), len(HOSTILE))
        self.assertIn(HOSTILE[0], page.text)
        self.assertNotIn("\u202e", page.text)
        self.assertNotIn("\x1b", page.text)

    def test_it_would_be_noticed(self) -> None:
        with self.assertRaises(AssertionError):
            self.check_harmless("<style></style><script></script>" + HOSTILE[0])
        with self.assertRaises(AssertionError):
            self.check_harmless("<style></style><script></script><p onclick=x>")

    def test_a_message_of_a_real_report(self) -> None:
        for text in HOSTILE[:4]:
            self.check_harmless(self.source(report("ValueError: " + text)))

    def test_values_of_a_wrong_type(self) -> None:
        record = hostile_record("x", 0)
        for key in ("exception", "dump", "threads", "ending", "tags", "command", "lost"):
            for value in (7, "x<b>", [1], {"a": [None]}, True):
                with self.subTest(key=key, value=value):
                    page = self.check_harmless(self.of_records({**record, key: value}))
                    self.assertEqual(page.count("details", **{"class": "kind"}), 1)

    def test_deep_and_wide_ones(self) -> None:
        deep: dict[str, Any] = hostile_record("x", 0)["exception"]
        deep["exceptions"], deep["cause"] = [], None
        for _ in range(150):
            deep = (
                {**deep, "cause": deep, "exceptions": [deep]}
                if _ < 12
                else {**deep, "cause": None, "exceptions": [deep]}
            )
        wide = {**deep, "exceptions": [], "frames": deep["frames"] * 50_000}
        for exception in (deep, wide):
            source = self.of_records({**hostile_record("x", 0), "exception": exception})
            self.assertLess(len(source), 10 << 20)


class Secrets(HtmlTest):
    LOG = report("ValueError: password=hunter22 ticket-123")

    def test_are_taken_out(self) -> None:
        text = Page(self.source(self.LOG)).text
        self.assertNotIn("hunter22", text)
        self.assertIn("[redacted]", text)
        self.assertRegex(text, r"Secrets found and removed: [1-9]")
        self.assertIn("ticket-123", text)

    def test_more_of_them(self) -> None:
        self.assertNotIn("ticket-123", self.source(self.LOG, "--redact", r"ticket-\d+"))

    def test_or_are_not(self) -> None:
        self.assertIn("hunter22", self.source(self.LOG, "--no-redact"))

    def test_in_every_part_of_a_record(self) -> None:
        record = hostile_record("token=abcdefgh1234", 0)
        self.assertNotIn("abcdefgh1234", self.of_records(record))

    def test_where_a_long_text_is_cut(self) -> None:
        record = hostile_record("x", 0)
        for size in range(11_990, 12_010):
            record["stderr"] = "password=abcdefgh1234" + "\n" + "y" * (size - 1)
            source = self.of_records(record)
            self.assertNotIn("1234", source.partition("Standard error")[2])

    def test_wrong_expression(self) -> None:
        text = self.check_complaint("html", "--redact", "(", status=2)
        self.assertIn("--redact (", text)


class Size(HtmlTest):
    def page_of(self, count: int, kinds: int) -> str:
        record = hostile_record("x", 0)
        record["text"] = record["stderr"] = "line of a text\n" * 200
        lines = []
        for number in range(count):
            record["fingerprint"] = "%016x" % (number % kinds)
            record["summary"] = "ValueError: %s" % ("long " * 30)
            record["program"] = "/srv/program-%d/%s.py" % (number % kinds, "x" * 150)
            record["time"] = "2026-11-%02dT10:11:12.345678Z" % (1 + number % 28)
            lines.append(line(record))
        path = Path(self.write("records", "".join(lines)))
        target = self.folder / "page.html"
        result = self.crashenv("html", "-q", "-o", str(target), str(path))
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        self.assertLess(os.path.getsize(target), 10_000_000)
        return target.read_text("utf-8")

    def test_ten_thousand_of_a_few_kinds(self) -> None:
        page = Page(self.page_of(10_000, 30))
        self.assertIn("10000 crashes of 30 kinds", page.text)
        self.assertEqual(page.count("details", **{"class": "kind"}), 30)
        self.assertNotIn("to keep this page small", page.text)

    def test_thousands_of_kinds_and_what_is_left_out(self) -> None:
        text = self.page_of(2_500, 2_500)
        self.assertIn("2500 crashes of 2500 kinds", text)
        self.assertRegex(text, r"Records are shown for \d+ kinds")
        self.assertRegex(text, r"\d+ more kinds, with \d+ crashes, left out")


class ProgressLine(HtmlTest):
    def test_only_on_a_terminal_and_after_two_seconds(self) -> None:
        source = """
            import sys, time
            sys.path[:0] = [%r]
            from crashenv._cli import terminal
            terminal._DELAY = float(sys.argv[1])
            progress = terminal.Progress("crashenv x", sys.argv[2] == "quiet")
            progress.begin("reading", 20_000_000, "bytes")
            progress.at(10_000_000)
            progress.end()
        """
        from tests.driver import importable

        path = self.write("progress.py", source % importable())
        text = self.on_terminal(path, "0", "loud")
        self.assertRegex(text, r"crashenv x: reading 10 of 20 MB, \d+ MB/s, \d+ s left")
        self.assertTrue(text.endswith("\r\x1b[K"), text)
        self.assertEqual(self.on_terminal(path, "0", "quiet"), "")
        self.assertEqual(self.on_terminal(path, "60", "loud"), "")

    def on_terminal(self, *arguments: str) -> str:
        import pty
        import subprocess

        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        process = subprocess.Popen([sys.executable, *arguments], stderr=slave, env=self.env)
        wait_until(lambda: process.poll() is not None, "its end")
        os.set_blocking(master, False)
        os.close(slave)
        try:
            return os.read(master, 1 << 16).decode()
        except OSError:  # nothing was written
            return ""
