"""Crashes of each kind on a Sentry-compatible server.

python -m unittest discover -s tests/sinks
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from tests.driver import ROOT, CommandTest

HAS_BUGSINK = importlib.util.find_spec("bugsink") is not None
if HAS_BUGSINK:
    from tests.sinks.bugsink_server import Bugsink

LOAD = """
def load(path):
    raise ValueError("boom " + path)
"""
CHAIN = """
def connect():
    raise KeyError("host")
def start():
    try:
        connect()
    except KeyError as error:
        raise RuntimeError("cannot start") from error
start()
"""
GROUP = """
def one(): raise ValueError("first")
def two(): raise TypeError("second")
def both():
    found = []
    for do in (one, two):
        try:
            do()
        except Exception as error:
            found.append(error)
    raise ExceptionGroup("both failed", found)
both()
"""
THREAD = """
import threading
def work(): raise LookupError("in a thread")
thread = threading.Thread(target=work, name="worker-7")
thread.start()
thread.join()
"""
WORKER = """
import multiprocessing
def work(): raise OSError("in a worker")
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work, name="Pool-1")
    process.start()
    process.join()
"""
NATIVE = """
import ctypes, threading
def waiting(event): event.wait()
def crash(): ctypes.string_at(0)
event = threading.Event()
threading.Thread(target=waiting, args=(event,), daemon=True).start()
crash()
"""
KILLED = "import os; os.kill(os.getpid(), 9)"


@unittest.skipUnless(HAS_BUGSINK, "not installed: bugsink")
class Shown(CommandTest):
    """Each test has its own kind of crash, and therefore its own issue."""

    server: Bugsink

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.server = Bugsink(Path(folder.name))
        cls.addClassCleanup(cls.server.stop)

    def crash(self, source: str, name: str, *options: str, pydebug: str = "") -> Any:
        """Return the issue that a run under the monitor creates, and its event."""
        before = {issue["id"] for issue in self.server.issues()}
        self.env["CRASHENV_SINK"] = self.server.url()
        if pydebug:
            self.env["PYDEBUG"] = pydebug
        result = self.run_monitored([sys.executable, self.write(name, source)], *options)
        self.assertEqual(self.check_output("send", "--quiet"), "")
        issues = [issue for issue in self.server.issues() if issue["id"] not in before]
        text = result.stderr.decode()[-2000:]
        self.assertEqual(len(issues), 1, "%s\n%s" % (text, issues))
        (event,) = self.server.events(issues[0]["id"])
        return issues[0], self.server.event(event["id"])

    def check_title(self, issue: Any, kind: str, value: str) -> None:
        self.assertEqual((issue["calculated_type"], issue["calculated_value"]), (kind, value))

    def test_exception(self) -> None:
        self.env["SENTRY_RELEASE"] = "shop@1.2"
        self.env["SENTRY_ENVIRONMENT"] = "testing"
        source = LOAD + "load('/etc/x')\n"
        issue, event = self.crash(source, "app.py", pydebug="crashtags=team:red")
        self.check_title(issue, "ValueError", "boom /etc/x")
        self.assertEqual(issue["events_at"], ["shop@1.2"])
        self.assertIn("app.py:3 in `load` [in-app]", event["stacktrace_md"])
        self.assertIn('▶  3 | raise ValueError("boom " + path)', event["stacktrace_md"])
        self.assertLess(
            event["stacktrace_md"].index("in `<module>`"), event["stacktrace_md"].index("in `load`")
        )
        data = event["data"]
        self.assertEqual((data["environment"], data["tags"]["team"]), ("testing", "red"))
        self.assertEqual(data["event_id"][:16], self.records()[0]["id"])
        self.assertEqual(event["timestamp"][:23], self.records()[0]["time"][:23])

    def test_chain(self) -> None:
        issue, event = self.crash(CHAIN, "chain.py")
        self.check_title(issue, "RuntimeError", "cannot start")
        text = event["stacktrace_md"]
        self.assertLess(text.index("# KeyError"), text.index("# RuntimeError"))
        self.assertIn("chain.py:3 in `connect`", text)
        values = event["data"]["exception"]["values"]
        mechanisms = [value["mechanism"] for value in values]
        self.assertEqual(mechanisms[1]["exception_id"], 0)
        self.assertEqual(mechanisms[0]["parent_id"], 0)
        self.assertEqual(mechanisms[0]["source"], "__cause__")

    @unittest.skipIf(sys.version_info < (3, 11), "there are no groups before Python 3.11")
    def test_group(self) -> None:
        issue, event = self.crash(GROUP, "group.py")
        self.check_title(issue, "ExceptionGroup", "both failed (2 sub-exceptions)")
        values = event["data"]["exception"]["values"]
        self.assertEqual([v["type"] for v in values], ["TypeError", "ValueError", "ExceptionGroup"])
        self.assertTrue(values[2]["mechanism"]["is_exception_group"])
        self.assertIn("group.py:3 in `two`", event["stacktrace_md"])

    def test_syntax_error(self) -> None:
        issue, event = self.crash("x = 1\nif x\n", "syntax.py")
        self.assertEqual(issue["calculated_type"], "SyntaxError")
        self.assertIn("syntax.py:2", event["stacktrace_md"])
        self.assertIn("▶  2 | if x", event["stacktrace_md"])

    def test_thread(self) -> None:
        issue, event = self.crash(THREAD, "threads.py", pydebug="crashtraceback=all")
        self.check_title(issue, "LookupError", "in a thread")
        threads = event["data"]["threads"]["values"]
        self.assertEqual((threads[0]["name"], threads[0]["crashed"]), ("worker-7", True))
        self.assertIn("# Threads", event["stacktrace_md"])
        self.assertIn("threads.py:6 in `<module>`", event["stacktrace_md"])

    def test_worker(self) -> None:
        issue, event = self.crash(WORKER, "workers.py")
        self.check_title(issue, "OSError", "in a worker")
        self.assertIn("workers.py:3 in `work` [in-app]", event["stacktrace_md"])
        self.assertEqual(event["data"]["tags"]["worker"], "Pool-1")

    def test_segmentation_fault(self) -> None:
        issue, event = self.crash(NATIVE, "native.py")
        self.check_title(issue, "SIGSEGV", "Segmentation fault")
        text = event["stacktrace_md"]
        self.assertIn("native.py:4 in `crash` [in-app]", text)
        self.assertIn("native.py:3 in `waiting`", text[text.index("# Threads") :])
        mechanism = event["data"]["exception"]["values"][0]["mechanism"]
        self.assertEqual(mechanism["meta"]["signal"], {"name": "SIGSEGV", "number": 11})

    def test_sigkill(self) -> None:
        issue, event = self.crash(KILLED, "killed.py")
        self.check_title(issue, "SIGKILL", "Killed")
        self.assertEqual(issue["transaction"], "killed.py")
        self.assertEqual(event["data"]["tags"]["program"], "killed.py")

    def test_one_issue_for_one_kind(self) -> None:
        """The message and the line may differ."""
        issue, _ = self.crash(LOAD + "load('/a')\n", "same.py")
        source = "\n\n" + LOAD + "load('/b')\n"
        self.run_monitored([sys.executable, self.write("same.py", source)])
        self.check_output("send", "--quiet")
        events = self.server.events(issue["id"])
        values = [self.server.event(event["id"])["data"]["exception"]["values"] for event in events]
        self.assertEqual([value[-1]["value"] for value in values], ["boom /a", "boom /b"])

    def test_sent_again_is_there_once(self) -> None:
        issue, event = self.crash(LOAD + "def g(): load('/g')\ng()\n", "again.py")
        path = next(self.store.glob("*.json"))
        self.check_output("send", "--quiet", str(path))
        self.assertEqual(len(self.server.events(issue["id"])), 1)
        self.assertEqual(event["data"]["contexts"]["crashenv"]["id"], self.records()[0]["id"])

    def test_whatever_a_crash_has_is_an_event(self) -> None:
        """Sentry's own schema accepts the whole corpus, whatever version wrote it."""
        for folder in sorted((ROOT / "tests" / "corpus").iterdir()):
            with self.subTest(folder.name):
                self.check_all_arrive(sorted(str(path) for path in folder.glob("*.txt")))

    def check_all_arrive(self, texts: list[str]) -> None:
        lines = self.check_output("list", "--json", *texts).splitlines()
        rows = [json.loads(line) for line in lines]
        events = {row["id"] for row in rows if row["kind"] != "dump"}
        count = len(events) + sum(row["kind"] == "dump" for row in rows)
        self.assertGreater(count, 20)
        before = self.count()
        options = ("--sink", self.server.url(), "--sink-limit=0")
        result = self.crashenv("send", *options, *texts)
        self.assertEqual(result.status, 0, str(result))
        self.assertNotIn(b"refused", result.stderr)
        self.assertEqual(self.count() - before, count)

    def count(self) -> int:
        return sum(issue["digested_event_count"] for issue in self.server.issues())

    def test_wrong_key_and_wrong_project(self) -> None:
        self.run_monitored("1/0")
        for url in (self.server.url(key="0" * 32), self.server.url(project="99")):
            with self.subTest(url):
                text = self.check_complaint("send", "--sink", url, "--patience=0", status=1)
                self.assertIn("HTTP 403", text)
                self.assertNotIn("0" * 32 + "@", text)
                self.assertIn("1 crash waits", text)

    def test_large_event(self) -> None:
        source = """
        import sys
        sys.setrecursionlimit(20000)
        def deep(n):
            def once(m):
                return deep(m - 1)
            if not n:
                raise ValueError("x" * 2_000_000)
            return once(n)
        deep(3000)
        """
        issue, event = self.crash(source, "large.py", pydebug="crashlimit=8M")
        self.assertEqual(issue["calculated_type"], "ValueError")
        self.assertLess(len(json.dumps(event["data"])), 1 << 20)


if __name__ == "__main__":
    unittest.main()
