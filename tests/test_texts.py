"""Crash texts from public reports, and similar texts: the records that are read from them."""

from __future__ import annotations

import re
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading import own
from crashenv._reading.build import record
from crashenv._reading.logs import Log

TEXTS = Path(__file__).parent / "texts"
# name of the file: values of its only record
EXPECTED: dict[str, dict[str, Any]] = {
    "busy": {"threads": 2, "where": None},
    "crlf": {"summary": "access violation", "threads": 2, "where": "main.py:13 in load"},
    "cython": {"summary": "KeyError: 'missing'", "where": "app.py:3 in main"},
    "encodings": {
        "summary": "Failed to import encodings module: "
        "ModuleNotFoundError: No module named 'encodings'",
        "threads": 1,
        "type": "ModuleNotFoundError",
    },
    "interp314": {"chain": ["concurrent.interpreters.NotShareableError", "Exception"]},
    "journald": {"summary": "ValueError: boom", "damage": None},
    "keyerror_repr": {"notes": [], "where": "app.py:2 in <module>"},
    "kubelet": {"summary": "ValueError: boom", "damage": None},
    "literal_eval": {"where": "app.py:5 in load"},
    "many_threads": {
        "summary": "SIGABRT: Aborted",
        "threads": 4,
        "where": "gui.py:40 in closeEvent",
    },
    "msg_with_chain": {"type": "ValueError", "where": "app.py:2 in main", "chain": []},
    "py4j": {"type": "py4j.protocol.Py4JJavaError", "where": "job.py:20 in <module>"},
    "pytest_midline": {"summary": "SIGABRT: Aborted", "where": "test_core.py:12 in test_window"},
    "python314": {"threads": 3, "c_stack": 2, "where": "main.py:7 in collect"},
    "remote": {"chain": ["concurrent.futures.process._RemoteTraceback"]},
    "timeout": {"summary": "Timeout (0:01:00)!", "threads": 2, "where": None},
    "colours": {
        "kind": "traceback",
        "summary": "RuntimeError: no",
        "where": "colour.py:6 in main",
        "chain": ["ValueError"],
    },
    "colours_group": {
        "kind": "traceback",
        "summary": "RuntimeError: wrap",
        "where": "group.py:9 in main",
        "chain": ["ExceptionGroup"],
    },
    "loguru": {
        "kind": "traceback",
        "summary": "ZeroDivisionError: division by zero",
        "where": "lg.py:3 in div",
    },
    "structlog_json": {
        "kind": "traceback",
        "summary": "ZeroDivisionError: division by zero",
        "where": "sl.py:4 in f",
    },
    "json_logger": {
        "kind": "traceback",
        "summary": "ZeroDivisionError: division by zero",
        "where": "pj.py:4 in <module>",
    },
    "remote_in_log": {
        "kind": "traceback",
        "summary": "ValueError: remote 3",
        "where": "mp.py:5 in <module>",
        "chain": ["concurrent.futures.process._RemoteTraceback"],
    },
    "shiv": {
        "kind": "traceback",
        "summary": "json.decoder.JSONDecodeError: Expecting property name enclosed in double "
        "quotes: line 1 column 2 (char 1)",
        "where": "work.py:3 in load",
    },
    "pex": {
        "kind": "traceback",
        "summary": "json.decoder.JSONDecodeError: Expecting property name enclosed in double "
        "quotes: line 1 column 2 (char 1)",
        "where": "work.py:3 in load",
    },
    "console_import": {
        "kind": "traceback",
        "summary": "ModuleNotFoundError: No module named 'myapp.nothere'",
        "where": "bad.py:1 in <module>",
    },
    "log_message": {
        "kind": "traceback",
        "summary": "ZeroDivisionError: division by zero",
        "where": "logexc.py:3 in <module>",
    },
    "heroku": {
        "kind": "traceback",
        "summary": "ModuleNotFoundError: No module named 'nothing'",
        "where": "wsgi.py:12 in <module>",
    },
    "home_assistant": {
        "kind": "traceback",
        "summary": "TypeError: bad",
        "where": "b.py:8 in update",
        "chain": ["KeyError"],
    },
    "ray_task": {
        "kind": "traceback",
        "summary": "ray.exceptions.RayTaskError(ValueError): ray::f() (pid=17, ip=172.17.0.2)",
        "where": "main.py:9 in <module>",
    },
    "encodings_alone": {
        "kind": "dump",
        "summary": "init_fs_encoding: failed to get the Python codec of the filesystem encoding: "
        "ModuleNotFoundError: No module named 'encodings'",
        "where": None,
        "threads": 0,
    },
    "spark_executor": {
        "kind": "traceback",
        "summary": "ZeroDivisionError: division by zero",
        "where": "job.py:5 in f",
    },
    "compose_group": {
        "kind": "traceback",
        "summary": "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): "
        "ValueError: 1; ValueError: 1",
        "where": "app.py:9 in <module>",
    },
    "compose_alternating": {
        "kind": "traceback",
        "summary": "ValueError: boom",
        "where": "app.py:2 in load",
    },
    "journald_precise": {
        "kind": "dump",
        "summary": "SIGSEGV: Segmentation fault",
        "where": "app.py:7 in collect",
        "threads": 2,
    },
    "journald_chain": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot load",
        "where": "app.py:5 in <module>",
        "chain": ["ZeroDivisionError"],
    },
    "journalctl_entry": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot load",
        "where": "app.py:5 in <module>",
        "chain": ["ZeroDivisionError"],
    },
    "rsyslog_folded": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot load",
        "where": "app.py:5 in <module>",
        "chain": ["ZeroDivisionError"],
    },
    "logfmt": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot load",
        "where": "app.py:5 in <module>",
        "chain": ["ZeroDivisionError"],
    },
    "lambda": {
        "kind": "traceback",
        "summary": "KeyError: 'x'",
        "where": "lambda_function.py:5 in lambda_handler",
    },
    "github_midline": {
        "kind": "dump",
        "summary": "SIGABRT: Aborted",
        "where": "t.py:3 in f",
        "threads": 1,
    },
    "syntax_error": {
        "kind": "traceback",
        "summary": "SyntaxError: invalid syntax",
        "where": "app.py:3",
    },
    "terminal_copy": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot load",
        "where": "app.py:5 in <module>",
        "chain": ["ZeroDivisionError"],
    },
    "pyinstaller": {
        "kind": "traceback",
        "summary": "RuntimeError: cannot start",
        "where": "volume_thread.py:2 in <module>",
    },
    "conda_windows": {
        "kind": "dump",
        "summary": "access violation",
        "where": "app.py:13 in load",
        "threads": 1,
    },
    "billiard": {
        "kind": "traceback",
        "summary": "billiard.einfo.ExceptionWithTraceback",
        "where": "pool.py:1264 in mark_as_worker_lost",
    },
}


def records(stream: bytes, tracebacks: bool = False) -> list[dict[str, Any]]:
    log = Log(tracebacks)
    return [dict(record(frame)) for frame in log.feed(stream) + log.close()]


def report(text: str, **fields: str) -> dict[str, Any]:
    fields = {"kind": "exception", "program": "/srv/app.py", **fields}
    header = " ".join("%s=%s" % item for item in fields.items())
    body = text.encode()
    (found,) = records(b"crashenv: report %s bytes=%d\n%s" % (header.encode(), len(body), body))
    return found


def chain(exception: dict[str, Any]) -> list[str]:
    found = []
    while exception["cause"] or exception["context"]:
        exception = exception["cause"] or exception["context"]
        found.append(exception["type"])
    return found


def traceback(*frames: str, last: str = "ValueError: boom") -> str:
    """``frames`` as ``FILE:LINE FUNCTION SOURCE``."""
    text = "Traceback (most recent call last):\n"
    for frame in frames:
        match = re.match(r"(.*?):(\d+) (\S+)(?: (.*))?$", frame)
        assert match is not None, frame
        text += '  File "%s", line %s, in %s\n' % match.group(1, 2, 3)
        text += "    %s\n" % match[4] if match[4] else ""
    return text + last + "\n"


CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
SITE = "/venv/lib/python3.11/site-packages/"
SCRIPT = "/venv/bin/%s:8 <module> sys.exit(main())"


class Files(unittest.TestCase):
    def test_each(self) -> None:
        self.assertEqual({path.stem for path in TEXTS.glob("*.txt")}, set(EXPECTED))
        for name, expected in EXPECTED.items():
            with self.subTest(name):
                is_bare = expected.get("kind") == "traceback"
                (found,) = records((TEXTS / (name + ".txt")).read_bytes(), is_bare)
                dump, exception = found["dump"] or {}, found["exception"] or {}
                facts = {
                    "kind": found["kind"],
                    "summary": found["summary"],
                    "where": found["where"],
                    "damage": found["damage"],
                    "threads": len(dump.get("threads", ())),
                    "c_stack": len(dump.get("c_stack", ())),
                    "type": exception.get("type"),
                    "notes": exception.get("notes"),
                    "chain": chain(exception) if exception else None,
                }
                self.assertEqual({key: facts[key] for key in expected}, expected)


class Dumps(unittest.TestCase):
    FATAL = b"Fatal Python error: Segmentation fault\n\n"
    IDLE = b'Thread 0x00007f1 (most recent call first):\n  File "/srv/w.py", line 1 in idle\n\n'

    def one(self, text: bytes) -> dict[str, Any]:
        (found,) = records(text)
        return found

    def test_reason_behind_other_text(self) -> None:
        current = b'Current thread 0x1 (most recent call first):\n  File "/srv/t.py", line 3 in f\n'
        for before in (
            b"tests/t.py .s.F",
            b"[gw0] node down: ",
            b"25/11/22 10:11:12 ERROR Utils: ",
        ):
            found = self.one(b"x\n" + before + self.FATAL + current)
            self.assertEqual(found["summary"], "SIGSEGV: Segmentation fault")
            self.assertEqual(found["where"], "t.py:3 in f")

    def test_lines_between_reason_and_stacks(self) -> None:
        text = (
            b"Fatal Python error: _Py_CheckFunctionResult: a function returned NULL without "
            b"setting an exception\nPython runtime state: initialized\n"
            b"SystemError: <built-in function f> returned NULL without setting an exception\n\n"
            b'Current thread 0x1 (most recent call first):\n  File "/srv/t.py", line 3 in f\n'
        )
        found = self.one(text)
        self.assertEqual(found["where"], "t.py:3 in f")
        self.assertEqual(found["exception"]["type"], "SystemError")
        self.assertIn("returned NULL", found["summary"])
        between = b"".join(b"  sys.path[%d] = 'x'\nand more\n" % n for n in range(20))
        self.assertEqual(
            self.one(text.replace(b"\n\n", b"\n" + between + b"\n"))["where"], "t.py:3 in f"
        )

    def test_others_write_meanwhile(self) -> None:
        text = self.FATAL + self.IDLE
        text += b"Current thread 0x2 (most recent call first):\n 31%|##  | 72/234 [01:02<02:20]\n"
        text += (
            b'  File "/srv/t.py", line 3 in f\nINFO: still here\n  File "/srv/t.py", line 9 in g\n'
        )
        found = self.one(text + b"Aborted (core dumped)\nlog\n" * 9)
        self.assertEqual(len(found["dump"]["threads"]), 2)
        self.assertEqual(found["where"], "t.py:3 in f")
        self.assertTrue(found["text"].endswith("line 9 in g\n"))

    def test_a_traceback_behind_is_not_in_it(self) -> None:
        text = (
            self.FATAL
            + b'Current thread 0x2 (most recent call first):\n  File "/t.py", line 3 in f\n'
        )
        found = records(text + traceback("/srv/app.py:1 f").encode(), tracebacks=True)
        self.assertEqual([one["kind"] for one in found], ["dump", "traceback"])

    def test_thread_that_python_does_not_know(self) -> None:
        self.assertIsNone(self.one(self.FATAL + self.IDLE)["where"])
        stack = (
            b"Current thread's C stack trace (most recent call first):\n"
            b'  Binary file "/usr/lib/libpython3.14.so.1.0", at _Py_DumpStack+0x4a [0x7f1]\n'
            b'  Binary file "/usr/lib/x86_64-linux-gnu/libc.so.6", at +0x1a070 [0x7f2]\n'
            b'  Binary file "/srv/fast.cpython-314-x86_64-linux-gnu.so", at crash_me+0x9 [0x7f3]\n'
        )
        where = self.one(self.FATAL + self.IDLE + stack)["where"]
        self.assertEqual(where, "fast.cpython-314-x86_64-linux-gnu.so in crash_me")
        where = self.one(self.FATAL + self.IDLE + stack.replace(b"crash_me+", b"+"))["where"]
        self.assertEqual(where, "fast.cpython-314-x86_64-linux-gnu.so")

    def test_exception_without_stacks(self) -> None:
        reason = (
            b"Fatal Python error: init_sys_streams: no\nPython runtime state: core initialized\n"
        )
        found = self.one(reason + traceback("/srv/abc.py:3 <module>").encode() + b"log\n" * 9)
        self.assertEqual(found["summary"], "init_sys_streams: no: ValueError: boom")
        self.assertEqual(found["where"], "abc.py:3 in <module>")
        self.assertIsNone(self.one(reason + b"INFO: no exception\n")["exception"])

    def test_line_that_nobody_knows(self) -> None:
        text = b'Current thread 0x1 (most recent call first):\n  File "/srv/t.py", line ??? in f\n'
        self.assertEqual(self.one(self.FATAL + text)["where"], "t.py in f")

    def test_timeouts_of_different_length_are_one_kind(self) -> None:
        current = b'Thread 0x1 (most recent call first):\n  File "/srv/t.py", line 3 in f\n'
        prints = {self.one(b"Timeout (0:0%d:00)!\n" % n + current)["fingerprint"] for n in (1, 2)}
        self.assertEqual(len(prints), 1)


class Chains(unittest.TestCase):
    def test_cause_that_was_never_raised(self) -> None:
        found = report("KeyError: 'a'\n" + CAUSE + traceback("/srv/app.py:1 <module>"))
        self.assertEqual(chain(found["exception"]), ["KeyError"])
        for title in ("Exception in thread Thread-1 (f):\n", "Process Process-1:\n"):
            text = title + "KeyError: 'a'\n" + CAUSE + traceback("/srv/app.py:1 <module>")
            self.assertEqual(chain(report(text)["exception"]), ["KeyError"], title)

    def test_quotation_of_a_remote_chain(self) -> None:
        inner = (
            traceback("/opt/w.py:1 f", last="KeyError: 1") + CONTEXT + traceback("/opt/w.py:3 g")
        )
        for name in (
            "multiprocessing.pool.RemoteTraceback",
            "concurrent.futures.process._RemoteTraceback",
            "joblib.externals.loky.process_executor._RemoteTraceback",
        ):
            quoted = '%s: \n"""\n%s"""\n' % (name, inner)
            nested = '%s: \n"""\n%s%s%s"""\n' % (name, quoted, CAUSE, inner)
            for text in (quoted, nested):
                found = report(text + CAUSE + traceback("/srv/app.py:2 <module>"))
                self.assertEqual(chain(found["exception"]), [name])
                self.assertEqual(found["where"], "app.py:2 in <module>")

    def test_quotation_with_the_number_of_lines(self) -> None:
        quoted = traceback("/srv/app.py:1 <module>") + CONTEXT + traceback("/srv/app.py:9 <module>")
        own_cause = traceback("/srv/app.py:1 load", last="OSError: no") + CAUSE
        message = "RuntimeError: child said:\n" + quoted
        size = str(message.count("\n"))
        text = own_cause + traceback("/srv/app.py:5 <module>", last=message.rstrip("\n"))
        found = report(text, message=size)
        self.assertEqual(found["exception"]["type"], "RuntimeError")
        self.assertEqual(chain(found["exception"]), ["OSError"])
        self.assertEqual(found["where"], "app.py:5 in <module>")
        with_notes = report(text + "a note\nof two lines\n", message=size, notes="2")
        self.assertEqual(with_notes["exception"]["notes"], ["a note\nof two lines"])
        self.assertEqual(with_notes["exception"]["message"], found["exception"]["message"])

    def test_cause_that_quotes(self) -> None:
        """The links after a quotation in a cause's message are the program's own."""
        quoted = traceback("/opt/other.py:1 <module>", last="OSError: x")
        first = traceback(
            "/srv/lib.py:1 f", last="RuntimeError: child said:\n" + quoted.rstrip("\n")
        )
        found = report(first + CAUSE + traceback("/srv/app.py:5 <module>"))
        self.assertEqual(found["exception"]["type"], "ValueError")
        self.assertEqual(chain(found["exception"]), ["RuntimeError"])

    def test_without_the_empty_lines(self) -> None:
        """The journal has none; so a report is shorter than it announces."""
        text = traceback("/srv/app.py:1 f", last="KeyError: 1") + CONTEXT
        text += traceback("/srv/app.py:3 g")
        header = b"crashenv: report kind=exception bytes=%d\n" % len(text)
        (found,) = records(header + text.replace("\n\n", "\n").encode())
        self.assertEqual(found["summary"], "ValueError: boom")
        self.assertEqual(chain(found["exception"]), ["KeyError"])

    def test_type_with_another_in_it(self) -> None:
        name = "ray.exceptions.RayTaskError(ValueError)"
        found = report(traceback("/srv/app.py:1 f", last=name + ": ray::f() (pid=1)"))
        self.assertEqual(found["exception"]["type"], name)
        found = report(traceback("/srv/app.py:1 f", last="main(): no type"))
        self.assertIsNone(found["exception"]["type"])

    def test_notes_of_a_key_error(self) -> None:
        for message, notes in (
            ("KeyError: array([[1, 2],\n       [3, 4]])", []),
            ("KeyError:    a  b\n0  1  2", []),
            ("KeyError: 'a'\na note", ["a note"]),
        ):
            found = report(traceback("/srv/app.py:1 f", last=message))
            self.assertEqual(found["exception"]["notes"], notes, message)


class WhoseCode(unittest.TestCase):
    def where(self, *frames: str, last: str = "ValueError: boom") -> str:
        return str(report(traceback(*frames, last=last))["where"])

    def test_installed_programs(self) -> None:
        package = SITE + "mine/cli.py:10 main", SITE + "mine/work.py:3 load"
        library = SITE + "requests/api.py:73 get"
        for launcher in (
            [SCRIPT % "myapp"],
            ["/usr/local/bin/myapp:5 <module>"],
            [r"C:\venv\Scripts\myapp.exe\__main__.py:7 <module>"],
            ["<frozen runpy>:198 _run_module_as_main", "<frozen runpy>:88 _run_code"],
            [SCRIPT % "gunicorn", SITE + "gunicorn/app/wsgiapp.py:67 run"],
            [SCRIPT % "celery", SITE + "celery/__main__.py:15 main", SITE + "click/core.py:1 x"],
            ["/venv/bin/app.pyz/__main__.py:3 <module>", SITE + "_bootstrap/__init__.py:1 b"],
            ["/usr/lib/python3.11/threading.py:1 _bootstrap_inner"],
            ["/venv/bin/myapp:5 <module> from mine.cli import main"],
            ["/usr/bin/myapp:25 importlib_load_entry_point"],
            ["/srv/app.pyz/__main__.py:3 <module>", "/srv/app.pyz/_bootstrap/__init__.py:9 run"],
            ["/srv/app/__main__.py:3 <module>", "/srv/app/_bootstrap/__init__.py:9 run"],
            ["/c/pex/unzipped_pexes/1/__main__.py:9 boot", "/c/pex/1/.bootstrap/pex/pex.py:3 f"],
            ["/c/pex/venvs/1/2/pex:459 <module> boot(", "/c/pex/venvs/1/2/pex:447 boot"],
            [SCRIPT % "uvicorn", SITE + "uvicorn/main.py:410 main", SITE + "starlette/r.py:3 f"],
        ):
            with self.subTest(launcher):
                self.assertEqual(self.where(*launcher, *package), "work.py:3 in load")
                self.assertEqual(self.where(*launcher, *package, library), "work.py:3 in load")

    def test_kinds_of_installed_programs_differ(self) -> None:
        def print_of(name: str) -> Any:
            frames = [SCRIPT % "myapp", SITE + "mine/cli.py:10 main", SITE + "mine/w.py:3 " + name]
            return report(traceback(*frames))["fingerprint"]

        self.assertNotEqual(print_of("load"), print_of("save"))
        self.assertEqual(print_of("load"), print_of("load"))

    def test_program_started_by_a_launcher(self) -> None:
        launcher = SCRIPT % "gunicorn", SITE + "gunicorn/app/wsgiapp.py:67 run"
        self.assertEqual(self.where(*launcher, "/srv/app.py:3 create"), "app.py:3 in create")

    def test_script_in_an_archive_that_is_all_there_is(self) -> None:
        where = self.where(
            "<frozen runpy>:198 _run_module_as_main", "/srv/x.pyz/__main__.py:3 <module>"
        )
        self.assertEqual(where, "__main__.py:3 in <module>")

    def test_script_of_the_user_in_bin(self) -> None:
        where = self.where("/home/u/bin/tool:9 <module> load()", SITE + "requests/api.py:73 get")
        self.assertEqual(where, "tool:9 in <module>")

    def test_not_own(self) -> None:
        for file in (
            "pandas/_libs/index.pyx",
            "x.pxi",
            "<frozen importlib._bootstrap>",
            "<attrs generated init a.B>",
            "<unknown>",
            "<decorator-gen-5>",
            "/opt/spark/python/lib/pyspark.zip/pyspark/sql.py",
            "/opt/x-1.0-py3.11.egg/x/y.py",
            "/venv/lib/python3.11/site-packages/x/y.py",
            r"C:\Python311\Lib\json\decoder.py",
            "/opt/venv/crashenv/_crash_rare.py",
            r"C:\Users\u\miniconda3\lib\runpy.py",
            r"PyInstaller\loader\pyimod02_importers.py",
            "threading.pyc",
            "asyncio/base_events.py",
            r"C:\Temp\ONEFIL~1\json\decoder.py",
            "/opt/app.dist/json/decoder.py",
            "/opt/spark/python/pyspark/sql/session.py",
            "/opt/python/requests/api.py",
            "/var/runtime/bootstrap.py",
        ):
            self.assertFalse(own.is_own(file), file)
            self.assertEqual(self.where("/srv/app.py:3 main", file + ":9 f"), "app.py:3 in main")
        for file in (
            "/srv/fast.pyx",
            "<string>",
            "<stdin>",
            "<console>",
            r"C:\app\main.py",
            "app.py",
            r"C:\app\lib\util.py",
            r"core\tray_icon.py",
            "/srv/json/decoder.py",
            "/opt/app.dist/main.py",
        ):
            self.assertTrue(own.is_own(file), file)

    def test_syntax_errors(self) -> None:
        called = "/srv/app.py:5 load"
        text = '  File "%s", line 3\n    x = (\n        ^\nSyntaxError: never closed'
        for file, where in (
            ("/srv/broken.py", "broken.py:3"),
            ("<unknown>", "app.py:5 in load"),
            ("<string>", "app.py:5 in load"),
            (SITE + "lib/broken.py", "app.py:5 in load"),
        ):
            self.assertEqual(self.where(called, last=text % file), where)
        self.assertEqual(report(text % "<string>" + "\n")["where"], "<string>:3")

    def test_groups(self) -> None:
        text = (TEXTS.parent / "corpus" / "3.13" / "group.txt").read_bytes()
        (found,) = records(text)
        self.assertRegex(found["summary"], r"\AExceptionGroup: several \(3 sub-exceptions\): .*; ")
        other = text.replace(b"KeyError", b"TypeName")
        (changed,) = records(other)
        self.assertEqual(len(text), len(other))
        self.assertNotEqual(found["fingerprint"], changed["fingerprint"])


if __name__ == "__main__":
    unittest.main()
