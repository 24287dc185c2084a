"""``--sink``: each crash is sent once, in order, without secrets, without delay."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pty
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from tests.driver import (
    DEADLINE,
    INSTALLED,
    PYPY,
    ROOT,
    CommandTest,
    Result,
    children,
    importable,
    run,
    started,
    wait_until,
)
from tests.sinks_receivers import (
    Behaviour,
    Datagrams,
    Receiver,
    Request,
    accept,
    closed_port,
    journal_fields,
    receiver,
    whole_file,
)

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv import _store
from crashenv._reading import build
from crashenv._reading.encode import to_json
from crashenv._reading.frames import Splitter
from crashenv._sinks import address, content, marks, outcomes, sentry, syslog, times, web

BOOM = 'Traceback (most recent call last):\n  File "/app/a.py", line %d, in f\n    f()\n%s: boom\n'
SECRET = "0123456789abcdef0123456789abcdef"  # in a DSN


class SinkTest(CommandTest):
    def receiver(self, behaviour: Any = accept, tls: Any = None) -> Receiver:
        one = Receiver(behaviour, tls)
        self.addCleanup(one.close)
        return one

    def hook(self, one: Receiver) -> str:
        return "http://127.0.0.1:%d/hook" % one.port

    def fill(
        self, count: int, kinds: int | None = None, age: float = 0, first: int = 0
    ) -> list[str]:
        """Store records of different kinds, the newest ``age`` seconds old; return their ids."""
        ids = []
        self.store.mkdir(parents=True, exist_ok=True)
        now = time.time_ns() - int(age * 1e9)
        for number in range(first, first + count):
            name = "Error%d" % (number % (kinds or count))
            raw = report(BOOM % (number, name), number)
            (frame,) = Splitter().feed(raw)
            record = build.record(frame)
            kept = times_name(now + (number - count) * 1000)
            path = self.store / ("%s-%s.json" % (kept, record["id"]))
            path.write_bytes(to_json(record).encode() + b"\n")
            ids.append(record["id"])
        return ids

    def send(self, one: Receiver | str, *options: str, status: int = 0, **others: Any) -> str:
        """Send to that webhook; return the messages on stderr."""
        url = one if isinstance(one, str) else self.hook(one)
        result = self.crashenv("send", "--sink", url, *options, **others)
        self.assertEqual((result.status, result.stdout), (status, b""), str(result))
        return result.stderr.decode()

    def got(self, one: Receiver) -> list[Any]:
        """Return the records that it kept."""
        return [json.loads(body) for _, _, body in one.kept]

    def got_ids(self, one: Receiver) -> list[str]:
        return [record["id"] for record in self.got(one)]


def report(text: str, number: int = 0) -> bytes:
    body = text.encode()
    head = "crashenv: report kind=exception pid=1 time=2026-11-25T10:00:00.%06dZ bytes=%d\n"
    return (head % (number, len(body))).encode() + body


def times_name(nanoseconds: int) -> str:
    from crashenv._wire import timestamp

    return "".join(c for c in timestamp(nanoseconds) if c not in "-:")


class Monitored(SinkTest):
    def test_crash_arrives(self) -> None:
        one = self.receiver()
        result = self.run_monitored("raise ValueError('boom')", "--sink", self.hook(one))
        self.assertEqual(result.status, 1)
        (record,) = self.got(one)
        self.assertEqual(record["summary"], "ValueError: boom")
        self.assertEqual(record["id"], self.records()[0]["id"])
        self.assertIn("Traceback (most recent call last)", record["text"])
        ((path, headers, _),) = one.kept
        self.assertEqual(path, "/hook")
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(headers["Webhook-Id"][:16], record["id"])

    def test_sigkill_arrives(self) -> None:
        one = self.receiver()
        self.run_monitored("import os; os.kill(os.getpid(), 9)", "--sink", self.hook(one))
        self.assertEqual([record["kind"] for record in self.got(one)], ["death"])

    def test_variable_and_option_are_both_meant(self) -> None:
        one, two = self.receiver(), self.receiver()
        path = self.write("sinks", "# of the team\n%s\n" % self.hook(two))
        self.env["CRASHENV_SINK"] = "%s @%s" % (self.hook(one), path)
        self.run_monitored("1/0", "--sink", self.hook(one))
        self.assertEqual((len(one.kept), len(two.kept)), (1, 1))

    def test_clean_end_starts_nothing(self) -> None:
        one = self.receiver()
        self.run_monitored("pass", "--sink", self.hook(one))
        self.assertEqual(one.count, 0)
        self.run_monitored("1/0", "--sink", self.hook(one))
        self.assertEqual(one.count, 1)

    def test_program_prints_and_ends_as_without(self) -> None:
        one = self.receiver()
        source = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        with_sink = self.run_monitored(source, "--sink", self.hook(one))
        self.assertEqual(with_sink.ending(), run(["-c", source], env=self.env).ending())

    def test_dead_receiver_does_not_delay_the_end(self) -> None:
        """It refuses connections, or never answers; the record is stored."""
        hang = self.receiver(slowly(DEADLINE / 4))
        for number, url in enumerate(("http://127.0.0.1:%d/" % closed_port(), self.hook(hang))):
            with self.subTest(url):
                began = time.monotonic()
                result = self.run_monitored("1/0", "--sink", url)
                took = time.monotonic() - began
                self.assertEqual(result.status, 1)
                self.assertLess(took, 6)  # two seconds, and two starts on a busy machine
                self.assertEqual(len(self.records()), number + 1)
                text = result.stderr.decode().splitlines()[-1]
                self.assertRegex(text, r"1 crash waits$|crashes waiting: 1$")

    def test_receiver_that_was_away_gets_all_from_the_next_monitor(self) -> None:
        one = self.receiver(lambda request: request.answer(503))
        for _ in range(3):
            self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        self.assertEqual((self.got(one), len(self.records())), ([], 3))
        one.behave(accept)
        self.forget_holds()
        self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        self.assertEqual(self.got_ids(one), [record["id"] for record in self.records()])

    def forget_holds(self) -> None:
        """Pretend that the time has passed after which a receiver is tried again."""
        for path in (self.store / ".sent").glob("*[!k]"):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not line.startswith("until")))

    def test_failing_receiver_is_left_alone_by_the_next_monitor(self) -> None:
        one = self.receiver(lambda request: request.answer(503))
        self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        before = one.count
        self.assertGreater(before, 1)
        began = time.monotonic()
        result = self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        self.assertEqual(one.count, before)
        self.assertLess(time.monotonic() - began, 1.5)
        self.assertNotIn(b"crashenv send", result.stderr)

    def test_slow_receiver_is_no_dead_one(self) -> None:
        """The next monitor sends the rest at once, after two seconds were not enough."""
        one = self.receiver()
        self.fill(1)
        self.send(one)
        one.behave(slowly(1))
        self.fill(8, first=1)
        result = self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        self.assertNotIn(b"did not answer", result.stderr)
        self.assertLess(len(one.kept), 10)
        one.behave(accept)
        self.run_monitored("1/0", "-q", "--sink", self.hook(one))
        ids = list(dict.fromkeys(self.got_ids(one)))
        self.assertEqual(ids, [record["id"] for record in self.records()])

    def test_what_was_there_before_the_sink_is_not_sent(self) -> None:
        one = self.receiver()
        (old,) = self.fill(1, age=60)
        self.run_monitored("1/0", "--sink", self.hook(one))
        self.assertEqual(len(one.kept), 1)
        self.assertNotIn(old, self.got_ids(one))
        self.send(one)
        self.assertEqual(len(one.kept), 1)
        self.send(one, "--all")
        self.assertEqual(self.got_ids(one)[1:], [old])

    def test_without_a_store(self) -> None:
        one = self.receiver()
        source = "import threading; threading.Thread(target=lambda: 1/0).start()"
        result = self.run_monitored(source, "--store", "/dev/null/x", "--sink", self.hook(one))
        self.assertEqual(len(self.got(one)), 1, str(result))

    def test_without_a_store_it_is_tried_again(self) -> None:
        answers = [503, 200]

        def once_busy(request: Request) -> None:
            if answers[0] == 200:
                request.keep()
            request.answer(answers[0])
            answers[:] = [200]

        one = self.receiver(once_busy)
        self.run_monitored("1/0", "--store", "/dev/null/x", "--sink", self.hook(one))
        self.assertEqual(len(self.got(one)), 1)

    def test_wrong_option_and_wrong_variable(self) -> None:
        result = self.run_monitored("print(1)", "--sink", "sentry+https://h/%s" % SECRET)
        self.assertEqual((result.status, result.stdout), (125, b""))
        self.env["CRASHENV_SINK"] = "nonsense://%s@h/1" % SECRET
        result = self.run_monitored("print(1)")
        self.assertEqual((result.status, result.stdout), (0, b"1\n"))
        self.assertIn(b"crashenv: CRASHENV_SINK: ", result.stderr)
        self.assertNotIn(SECRET.encode(), result.stderr)

    def test_flood_of_one_kind(self) -> None:
        one = self.receiver()
        source = """
            import threading
            for n in range(12):
                t = threading.Thread(target=lambda: 1/0)
                t.start()
                t.join()
            """
        options = ("-q", "--sink-limit", "3", "--sink", self.hook(one))
        self.run_monitored([sys.executable, self.write("flood.py", source)], *options)
        self.assertEqual((len(one.kept), len(self.records())), (3, 12))

    def test_metrics(self) -> None:
        one, path = self.receiver(), self.folder / "app.prom"
        url = "http://127.0.0.1:%d" % one.port
        dead = "http://127.0.0.1:%d" % closed_port()
        self.run_monitored("1/0", "--metrics", str(path), "--sink", url, "--sink", dead)
        lines = path.read_text().splitlines()
        self.assertIn('crashenv_sink_crashes_total{sink="%s",result="sent"} 1' % url, lines)
        self.assertIn('crashenv_sink_crashes_total{sink="%s",result="sent"} 0' % dead, lines)
        self.assertIn('crashenv_sink_waiting{sink="%s"} 0' % url, lines)
        self.assertIn('crashenv_sink_waiting{sink="%s"} 1' % dead, lines)

    def test_long_running_program_sends_at_once(self) -> None:
        one = self.receiver()
        source = """
            import sys, threading
            threading.Thread(target=lambda: 1/0).start()
            sys.stdin.read()
            """
        with self.started_monitored(source, "--sink", self.hook(one)) as process:
            wait_until(lambda: one.kept, "the crash of the thread")
            self.assertIsNone(process.poll())

    def test_program_that_goes_on_sends_what_waits_when_the_time_has_come(self) -> None:
        one = self.receiver()
        self.fill(1)
        self.crashenv("send", "--sink", "http://127.0.0.1:%d/hook" % one.port, "-q")
        self.assertEqual(one.count, 1)
        self.fill(2)  # as if a monitor was killed before it could send
        with self.started_monitored("input()", "--sink", self.hook(one)):
            wait_until(lambda: one.count >= 2, "what waited")

    def test_collect_and_start_monitor(self) -> None:
        one = self.receiver()
        self.env["PYTHONPATH"] = importable()
        source = (
            "import crashenv, sys\n"
            "crashenv.start_monitor(store=sys.argv[1], sink=sys.argv[2])\n"
            "1/0\n"
        )
        run([self.write("service.py", source), str(self.store), self.hook(one)], env=self.env)
        wait_until(lambda: one.kept, "the record")
        self.assertEqual(self.got(one)[0]["kind"], "exception")


class Secrets(SinkTest):
    def test_no_list_of_processes_and_no_line_has_one(self) -> None:
        hang = self.receiver(lambda request: time.sleep(5))
        self.env["CRASHENV_SINK"] = "sentry+http://%s@127.0.0.1:%d/1" % (SECRET, hang.port)
        with self.started_monitored("1/0") as process:
            wait_until(lambda: hang.count, "the sender")
            seen = [cmdline(pid) for pid in [process.pid, *children(process.pid)]]
            _, stderr = process.communicate()
        self.assertTrue(any(b"crashenv.__main__" in words for words in seen), seen)
        self.assertNotIn(SECRET.encode(), b"".join(seen) + stderr)
        self.assertIn(b"sentry+http://127.0.0.1:%d/1: did not answer in time" % hang.port, stderr)
        self.assertNotIn(SECRET, json.dumps(self.records()))
        for path in (self.store / ".sent").iterdir():
            self.assertNotIn(SECRET, path.read_text() + path.name)

    def test_taken_out_before_it_is_sent(self) -> None:
        one = self.receiver()
        secrets = "hunter2abc", "postgres://app:s3cr3t@db/x", "note-with-password=pass4word"
        source = """
            import sys
            print("stderr: token=%s" % sys.argv[2], file=sys.stderr)
            raise ValueError("cannot connect to postgres://app:s3cr3t@db/x, order 4711")
            """
        command = [sys.executable, self.write("app.py", source), "--password", "hunter2abc"]
        self.run_monitored(command, "--redact", r"order \d+", "--sink", self.hook(one))
        ((_, _, body),) = one.kept
        for secret in ("hunter2abc", "s3cr3t", "order 4711", secrets[2]):
            self.assertNotIn(secret, body.decode())
        record = json.loads(body)
        self.assertEqual(record["command"][-1], "[redacted]")
        self.assertIn("postgres://app:[redacted]@db/x, [redacted]", record["summary"])
        self.assertGreater(record["redacted"], 3)
        self.assertIn("hunter2abc", json.dumps(self.records()))  # the store has it all

    def test_how_many_is_told(self) -> None:
        one = self.receiver()
        self.run_monitored("raise ValueError('password=hunter2')")
        self.assertRegex(self.send(one), r"sent 1 crash to \S+, removed [1-9]\d* secrets")

    def test_server_that_says_our_key(self) -> None:
        one = self.receiver(lambda request: request.answer(403, b"no such key " + SECRET.encode()))
        self.fill(1)
        url = "sentry+http://%s@127.0.0.1:%d/1" % (SECRET, one.port)
        text = self.send(url, "--patience=0", status=1)
        self.assertIn("HTTP 403 no such key [redacted]; 1 crash waits", text)

    def test_addresses_are_shown_without_them(self) -> None:
        for url, shown in (
            ("sentry+https://%s@host/3" % SECRET, "sentry+https://host/3"),
            ("otlp+http://user:%s@host:4318" % SECRET, "otlp+http://host:4318"),
            ("https://host/services/%s" % SECRET, "https://host/..."),
            ("journald:", "journald:"),
            ("syslog://host:514", "syslog://host:514"),
        ):
            with self.subTest(url):
                one = address.Address(url, {})
                self.assertTrue(one.shown.startswith(shown), one.shown)
                self.assertNotIn(SECRET, one.shown + one.key)
        for url in ("x://%s", "sentry+https://%s/1", "sentry+https://%s@h/x", "https:%s", "%s"):
            with self.subTest(url), self.assertRaises(ValueError) as caught:
                address.Address(url % SECRET, {})
            if "@" in url or "x:" in url:
                self.assertNotIn(SECRET, str(caught.exception))

    def test_addresses_of_other_variables(self) -> None:
        dsn = {"SENTRY_DSN": "https://key@host/1"}
        self.assertEqual(address.Address("sentry:", dsn).url, "sentry+https://key@host/1")
        otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318"}
        self.assertEqual(address.Address("otlp:", otlp).url, "otlp+http://host:4318")
        for url in ("sentry:", "otlp:"):
            self.assertRaises(ValueError, address.Address, url, {})


class Sending(SinkTest):
    def test_in_order_and_once(self) -> None:
        one = self.receiver()
        ids = self.fill(12)
        self.assertEqual(self.send(one), "crashenv send: sent 12 crashes to %s\n" % shown(one))
        self.assertEqual(self.got_ids(one), ids)
        self.send(one)
        self.assertEqual(one.count, 12)

    def test_nothing_to_send(self) -> None:
        one = self.receiver()
        self.assertIn("sent 0 crashes", self.send(one))
        self.assertFalse(self.store.exists())

    def test_fails_half_of_the_time(self) -> None:
        """It fails in all ways that a server can; by the id, it has each crash once."""
        chance = random.Random(18)

        def by_chance(request: Request) -> None:
            fate = chance.choice("yyyyy5cbl")
            if fate in "yl":
                request.keep()
            if fate == "y":
                request.answer(200)
            elif fate == "5":
                request.answer(500)
            elif fate == "b":
                request.answer(503, Retry_After="0")
            else:  # the answer is lost, after the record was kept or before
                request.cut()

        one = self.receiver(by_chance)
        ids = self.fill(60, kinds=7)
        self.send(one, "--sink-limit=0")
        got = one.kept
        first = list(dict.fromkeys(headers["Webhook-Id"] for _, headers, _ in got))
        self.assertEqual([event[:16] for event in first], ids)
        self.assertGreater(one.count, 80)

    def test_two_processes_send_each_once(self) -> None:
        one = self.receiver(slowly(0.005))
        ids = self.fill(40)
        results: list[Result] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(self.crashenv("send", "--sink", self.hook(one)))
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([result.status for result in results], [0, 0, 0])
        self.assertEqual(self.got_ids(one), ids)

    def test_sender_that_is_killed_loses_nothing(self) -> None:
        ids = self.fill(30)
        one = self.receiver(slowly(0.01))
        arguments = ["-m", "crashenv", "send", "--sink", self.hook(one)]
        for enough in (5, 15):
            with started(arguments, env=self.env) as process:
                wait_until(partial(at_least, one, enough), "some")
                process.kill()
        self.send(one)
        events = [headers["Webhook-Id"][:16] for _, headers, _ in one.kept]
        self.assertEqual(list(dict.fromkeys(events)), ids)
        self.assertLessEqual(len(events), 32)  # those that were being sent are sent again

    def test_retry_after_is_obeyed(self) -> None:
        asked: list[float] = []

        def busy_once(request: Request) -> None:
            asked.append(time.monotonic())
            if len(asked) == 1:
                request.answer(429, Retry_After="1")
            else:
                accept(request)

        one = self.receiver(busy_once)
        self.fill(1)
        self.send(one)
        self.assertGreaterEqual(asked[1] - asked[0], 1)

    def test_long_retry_after_outlives_the_process(self) -> None:
        one = self.receiver(lambda request: request.answer(429, Retry_After="3000"))
        self.fill(2)
        self.assertIn("HTTP 429", self.send(one, status=1))
        self.assertEqual(one.count, 1)
        text = self.send(one, status=1)
        self.assertRegex(text, r"asked to wait for (2\d\d\d|3000) s more; 2 crashes wait")
        self.assertEqual(one.count, 1)
        self.assertEqual(self.send(one, "--quiet", status=1), "")

    def test_sentrys_own_limits(self) -> None:
        def limited(request: Request) -> None:
            request.keep()
            request.answer(200, X_Sentry_Rate_Limits="2700:error;default:organization, 5:x:y")

        one = self.receiver(limited)
        self.fill(2)
        url = "sentry+http://key@127.0.0.1:%d/1" % one.port
        self.assertIn("asked to wait for 2700 s; 1 crash waits", self.send(url, status=1))
        self.assertEqual(one.count, 1)
        shutil.rmtree(self.store)
        self.fill(1)
        self.assertNotIn("wait", self.send(url))
        for text, seconds in (("60:transaction:x", 0), ("60::x", 60), ("", 0), ("x, 5:error", 5)):
            self.assertEqual(sentry.pause(text), seconds, text)

    def test_what_is_refused_is_not_sent_again(self) -> None:
        def choosy(request: Request) -> None:
            if b"Error1:" in request.body:
                request.answer(400, b"not this one\x1b[2J")
            else:
                accept(request)

        one = self.receiver(choosy)
        ids = self.fill(3)
        text = self.send(one)
        self.assertIn("refused 1 crash: HTTP 400 not this one [2J\n", text)
        self.assertEqual(self.got_ids(one), [ids[0], ids[2]])
        self.send(one)
        self.assertEqual(one.count, 3)
        one.behave(accept)
        self.send(one, "--all")
        self.assertEqual(self.got_ids(one)[2:], [ids[1]])

    def test_wrong_address_loses_nothing(self) -> None:
        for status in (301, 302, 401, 403, 404, 405):
            other = self.receiver()
            one = self.receiver(answering(status, Location=self.hook(other)))
            with self.subTest(status):
                self.fill(1)
                self.assertIn("HTTP %d" % status, self.send(one, "--patience=0", status=1))
                self.assertEqual((one.count, other.count), (1, 0))
                one.behave(accept)
                self.assertIn("sent 1 crash ", self.send(one))
                shutil.rmtree(self.store)

    def test_record_that_the_server_fails_over_does_not_hold_up_the_others(self) -> None:
        def fails_over_one(request: Request) -> None:
            if b"Error0:" in request.body:
                request.answer(500)
            else:
                accept(request)

        one = self.receiver(fails_over_one)
        ids = self.fill(3)
        self.send(one, "--patience=0.3", status=1)
        self.assertEqual(self.got(one), [])  # in order, as long as it may be by chance
        (path,) = (self.store / ".sent").glob("*[!k]")
        name = next(line for line in path.read_text().splitlines() if line.endswith("tried"))
        with open(path, "a") as file:
            file.write((name + "\n") * 20)
        self.send(one, "--patience=0.3", status=1)
        self.assertEqual(self.got_ids(one), ids[1:])
        one.behave(accept)
        self.send(one)
        self.assertEqual(self.got_ids(one), [*ids[1:], ids[0]])

    def test_one_kind_so_many_times_an_hour(self) -> None:
        one = self.receiver()
        ids = self.fill(10, kinds=1, age=1800)
        text = self.send(one, "--sink-limit=4")
        self.assertIn("sent 4 crashes to %s, left out 6 by --sink-limit\n" % shown(one), text)
        self.assertEqual(self.got_ids(one), ids[:4])
        self.send(one, "--sink-limit=4")
        self.assertEqual(one.count, 4)

    def test_count_of_the_rest(self) -> None:
        one = self.receiver()
        ids = self.fill(10, kinds=1, age=7200)
        (new,) = self.fill(1, kinds=1, first=10)
        self.send(one, "--sink-limit=4")
        self.assertEqual(self.got_ids(one), [*ids[:4], new])
        left_out = [record.get("left_out") for record in self.got(one)]
        self.assertEqual(left_out, [None] * 4 + [6])

    def test_count_of_the_rest_if_none_follows(self) -> None:
        """The last one is sent when the hour is over, with the number of the others."""
        one = self.receiver()
        ids = self.fill(10, kinds=1, age=7200)
        self.send(one, "--sink-limit=4")
        self.assertEqual(self.got_ids(one), [*ids[:4], ids[9]])
        self.assertEqual(self.got(one)[4]["left_out"], 5)

    def test_files(self) -> None:
        one = self.receiver()
        path = self.folder / "crash.log"
        path.write_bytes(report(BOOM % (1, "A")) + report(BOOM % (2, "B")))
        self.assertIn("sent 2 crashes", self.send(one, str(path)))
        self.send(one, str(path))
        events = [headers["Webhook-Id"] for _, headers, _ in one.kept]
        self.assertEqual(events[:2], events[2:])
        self.assertFalse(self.store.exists())

    def test_files_that_are_no_records(self) -> None:
        one = self.receiver()
        (good,) = self.fill(1)
        name = "20260101T000000.000000Z-%s.json"
        (self.store / (name % ("0" * 16))).write_bytes(b"\x00\xff")
        (self.store / (name % ("1" * 16))).write_text('{"schema": 1}')
        (self.store / (name % ("2" * 16))).write_text('{"schema": 99}')
        self.assertIn("refused 3 crashes", self.send(one))
        self.assertEqual(self.got_ids(one), [good])

    def test_store_counts_records_alone(self) -> None:
        one = self.receiver()
        self.fill(3)
        self.send(one)
        self.assertEqual(len(_store.files(str(self.store))), 3)
        self.check_output("prune", "--max-records", "1")
        self.assertEqual(len(self.records()), 1)
        self.assertTrue((self.store / ".sent").is_dir())
        shown = self.check_output("list", str(self.store))
        self.assertEqual(len(shown.splitlines()), 2)
        self.send(one)
        self.assertEqual(one.count, 3)

    def test_marks_that_nobody_needs_go(self) -> None:
        one = self.receiver()
        self.fill(2)
        self.send(one)
        (path,) = (self.store / ".sent").glob("*[!k]")
        old = "20200101T000000.%06dZ-0123456789abcdef.json sent 00\n"
        with open(path, "a") as file:
            file.write("".join(old % number for number in range(5000)))
        self.fill(1)
        self.send(one)
        self.assertLess(len(path.read_text().splitlines()), 10)
        found = marks.Marks(str(self.store), address.Address(self.hook(one))).load()
        self.assertEqual(found.counts["sent"], 5003)
        self.send(one)
        self.assertEqual(one.count, 3)

    def test_mark_that_was_cut_costs_only_itself(self) -> None:
        one = self.receiver()
        first, second = self.fill(2)
        self.send(one)
        (path,) = (self.store / ".sent").glob("*[!k]")
        path.write_bytes(path.read_bytes()[:-9])  # a full disk, in the middle of the last line
        self.send(one)
        self.send(one)
        self.assertEqual(self.got_ids(one), [first, second, second])

    def test_usage(self) -> None:
        self.env.pop("CRASHENV_SINK", None)
        self.assertIn("needs --sink, or CRASHENV_SINK", self.check_complaint("send", status=2))
        for wrong in ("--sink=ftp://h", "--patience=x", "--sink-limit=-1", "--redact=("):
            self.check_complaint("send", "--sink=journald:", wrong, status=2)
        self.assertIn("No such file", self.check_complaint("send", "--sink=@/x/y", status=2))

    def test_progress_on_a_terminal(self) -> None:
        one = self.receiver(slowly(0.2))
        self.fill(15)
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest("no pseudoterminal: %s" % error)
        command = [sys.executable, "-m", "crashenv", "send", "--sink", self.hook(one)]
        process = subprocess.Popen(command, env=self.env, stderr=theirs)
        os.close(theirs)
        shown = read_all(ours)
        self.assertEqual(process.wait(DEADLINE), 0)
        self.assertRegex(shown, rb"crashenv send: sending to \S+, \d+ of 15 crashes")
        self.assertIn(b"\r\x1b[K", shown)


class Web(SinkTest):
    """Failures of servers and networks."""

    def test_hostile_servers_cost_no_more_than_patience(self) -> None:
        def endless_body(request: Request) -> None:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    request.wfile.write(b"x" * 65536)
            except OSError:
                pass

        def endless_headers(request: Request) -> None:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            try:
                while True:
                    request.wfile.write(b"x: " + b"y" * 1000 + b"\r\n")
            except OSError:
                pass

        def garbage(request: Request) -> None:
            request.wfile.write(b"\x00\x01SSH-2.0\r\n\r\n")

        def bad_retry(request: Request) -> None:
            request.answer(503, Retry_After="-1e999 \xc3")

        for behaviour in (endless_headers, garbage, bad_retry):
            with self.subTest(behaviour.__name__), receiver(behaviour) as one:
                self.fill(1)
                self.assertIn("1 crash waits", self.send(one, "--patience=0.1", status=1))
                shutil.rmtree(self.store)
        with receiver(endless_body) as one:
            self.fill(1)
            self.assertIn("sent 1 crash", self.send(one))

    def test_slow_server_has_an_end(self) -> None:
        """It sends a byte now and then, so no socket times out, but never a whole answer."""

        def drip(request: Request) -> None:
            try:
                for _ in range(int(DEADLINE * 20)):
                    request.wfile.write(b"H")
                    time.sleep(0.05)
            except OSError:
                pass

        with receiver(drip) as one, mock.patch.object(web, "_LONGEST", 1):
            signal.alarm(0)  # the driver's own; it is the same timer
            began = time.monotonic()
            with self.assertRaises(outcomes.Later) as caught:
                web.post(self.hook(one), b"{}", {})
            self.assertLess(time.monotonic() - began, DEADLINE / 2)
        self.assertIn("took more than 1 s", str(caught.exception))

    def test_proxy(self) -> None:
        proxy, one = self.receiver(), self.receiver()
        self.env["http_proxy"] = "http://127.0.0.1:%d" % proxy.port
        self.fill(1)
        self.send("http://receiver.invalid/hook")
        ((path, _, _),) = proxy.kept
        self.assertEqual(path, "http://receiver.invalid/hook")
        self.env["no_proxy"] = "127.0.0.1"
        self.send(one)
        self.assertEqual((len(one.kept), len(proxy.kept)), (1, 1))

    def test_proxy_for_tls_is_asked_for_a_tunnel(self) -> None:
        proxy = self.receiver()
        self.env["https_proxy"] = "http://127.0.0.1:%d" % proxy.port
        self.fill(1)
        text = self.send("https://receiver.invalid/hook", "--patience=0", status=1)
        self.assertIn("Tunnel connection failed", text)
        self.assertEqual(proxy.connects, ["receiver.invalid:443"])

    @unittest.skipUnless(shutil.which("openssl"), "no openssl, to make a certificate")
    def test_certificates_are_verified(self) -> None:
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(str(certificate), str(key))
        one = self.receiver(tls=tls)
        url = "https://127.0.0.1:%d/" % one.port
        self.fill(1)
        text = self.send(url, status=1)
        self.assertIn("its certificate is not valid: self", text)
        self.assertEqual(one.kept, [])
        self.env["SSL_CERT_FILE"] = str(certificate)
        self.send(url)
        self.assertEqual(len(one.kept), 1)

    def test_how_long_to_wait(self) -> None:
        for text, seconds in (
            ("120", 120),
            ("0", 0),
            ("99999999999999", 86400),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
            ("soon", None),
            ("-1", None),
            ("", None),
            (None, None),
        ):
            self.assertEqual(web.wait(text), seconds, text)


class Forms(SinkTest):
    """What is sent to each kind of receiver; ``tests/sinks`` uses real ones."""

    CRASH = "def load(): raise ValueError('boom')\nload()"

    def crash(self, url: str, source: str = CRASH, *options: str) -> Any:
        """Return the record of a crash that was sent there."""
        script = self.write("app.py", source)
        result = self.run_monitored([sys.executable, script], "--sink", url, *options)
        self.assertEqual(result.stderr.decode().count("crashenv send"), 0, str(result))
        return self.records()[-1]

    def test_webhook_is_signed(self) -> None:
        raw = b"a secret of 24 bytes...."
        secret = self.write("secret", "whsec_%s\n" % base64.b64encode(raw).decode())
        for variables, key in (
            ({"CRASHENV_SINK_SECRET": "plain"}, b"plain"),
            ({"CRASHENV_SINK_SECRET_FILE": secret}, raw),
        ):
            with self.subTest(variables):
                one = self.receiver()
                self.env.update(variables)
                self.crash(self.hook(one))
                for name in variables:
                    del self.env[name]
                ((_, headers, body),) = one.kept
                signed = "%s.%s." % (headers["Webhook-Id"], headers["Webhook-Timestamp"])
                digest = hmac.new(key, signed.encode() + body, hashlib.sha256).digest()
                expected = "v1," + base64.b64encode(digest).decode()
                self.assertEqual(headers["Webhook-Signature"], expected)

    def test_webhook_with_a_login(self) -> None:
        one = self.receiver()
        self.crash("http://us%%40er:pa%%20ss@127.0.0.1:%d/" % one.port)
        ((_, headers, _),) = one.kept
        self.assertEqual(base64.b64decode(headers["Authorization"].split()[1]), b"us@er:pa ss")

    def test_sentry(self) -> None:
        one = self.receiver()
        self.env.update(SENTRY_RELEASE="shop@1.2", SENTRY_ENVIRONMENT="testing")
        self.env["PYDEBUG"] = "crashtags=team:red"
        record = self.crash("sentry+http://key@127.0.0.1:%d/base/42" % one.port)
        ((path, headers, body),) = one.kept
        self.assertEqual(path, "/base/api/42/envelope/")
        self.assertIn("sentry_key=key", headers["X-Sentry-Auth"])
        head, item, event_text = body.rstrip(b"\n").split(b"\n")
        event = json.loads(event_text)
        self.assertEqual(json.loads(item)["length"], len(event_text))
        self.assertEqual(json.loads(head)["event_id"], event["event_id"])
        self.assertEqual(event["event_id"][:16], record["id"])
        self.assertEqual((event["release"], event["environment"]), ("shop@1.2", "testing"))
        self.assertEqual(event["tags"]["team"], "red")
        self.assertEqual(event["fingerprint"], [record["fingerprint"]])
        (value,) = event["exception"]["values"]
        self.assertEqual((value["type"], value["value"]), ("ValueError", "boom"))
        frame = value["stacktrace"]["frames"][-1]
        self.assertEqual((frame["function"], frame["lineno"], frame["in_app"]), ("load", 1, True))
        self.assertEqual(frame["context_line"], "def load(): raise ValueError('boom')")

    def test_sentry_gets_the_c_frames_of_a_native_crash(self) -> None:
        one = self.receiver()
        path = ROOT / "tests" / "corpus" / "3.14" / "segmentation_fault.txt"
        self.send("sentry+http://key@127.0.0.1:%d/1" % one.port, str(path))
        for (_, _, body), kind in zip(one.kept, ("SIGSEGV",)):
            (value,) = json.loads(body.split(b"\n")[2])["exception"]["values"]
            self.assertEqual(value["type"], kind)
            self.assertEqual(value["mechanism"]["meta"]["signal"]["name"], kind)
            frames = value["stacktrace"]["frames"]
            places = [frame.get("platform", "python") for frame in frames]
            self.assertEqual(places, sorted(places, reverse=True))  # the C frames come last
            self.assertEqual(frames[-1]["function"], "_Py_DumpStack")
            self.assertEqual(frames[-1]["package"], "/usr/bin/python3.14")
        self.assertTrue(one.kept)

    def test_otlp(self) -> None:
        one = self.receiver()
        self.env.update(
            OTEL_SERVICE_NAME="shop",
            OTEL_RESOURCE_ATTRIBUTES="service.version=1.2,team=a%20b,service.name=other",
            OTEL_EXPORTER_OTLP_HEADERS="x-token=s%3D1",
        )
        record = self.crash("otlp+http://127.0.0.1:%d" % one.port)
        ((path, headers, body),) = one.kept
        self.assertEqual((path, headers["X-Token"]), ("/v1/logs", "s=1"))
        (resource_logs,) = json.loads(body)["resourceLogs"]
        resource = attributes(resource_logs["resource"])
        self.assertEqual(resource["service.name"], "shop")
        self.assertEqual((resource["service.version"], resource["team"]), ("1.2", "a b"))
        self.assertEqual(resource["process.pid"], str(record["pid"]))
        (log,) = resource_logs["scopeLogs"][0]["logRecords"]
        self.assertEqual(int(log["timeUnixNano"]), times.nanoseconds(record["time"]))
        found = attributes(log)
        self.assertEqual(found["exception.type"], "ValueError")
        self.assertEqual(found["exception.message"], "boom")
        self.assertEqual(found["exception.stacktrace"], record["text"])
        self.assertEqual(found["log.record.uid"][:16], record["id"])
        self.assertEqual((found["code.function.name"], found["code.line.number"]), ("load", "1"))

    def test_otlp_that_was_rejected(self) -> None:
        body = b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}'
        one = self.receiver(lambda request: request.answer(200, body))
        self.fill(1)
        text = self.send("otlp+http://127.0.0.1:%d" % one.port)
        self.assertIn("refused 1 crash: 1 rejected: too old", text)

    def test_kubernetes(self) -> None:
        self.env.update(KUBERNETES_SERVICE_HOST="10.0.0.1", POD_NAME="shop-1", NODE_NAME="n7")
        one = self.receiver()
        record = self.crash(self.hook(one))
        self.assertEqual(record["resource"]["k8s.pod.name"], "shop-1")
        self.assertEqual(record["resource"]["k8s.node.name"], "n7")

    def test_journald(self) -> None:
        journal = Datagrams(self.folder)
        self.addCleanup(journal.close)
        self.env["PYDEBUG"] = "crashtags=team:red"
        record = self.crash("journald:" + journal.path)
        data, files = journal.next()
        self.assertEqual(files, [])
        fields = journal_fields(data)
        where = "app.py:1 in load"
        self.assertEqual(fields["MESSAGE"], "app.py: ValueError: boom (%s)" % where)
        self.assertEqual(fields["CODE_FILE"], str(self.folder / "app.py"))
        self.assertEqual((fields["CODE_LINE"], fields["CODE_FUNC"]), ("1", "load"))
        self.assertEqual(fields["COREDUMP_PID"], str(record["pid"]))
        self.assertEqual((fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]), ("2", "app.py"))
        self.assertEqual(fields["EXCEPTION_TEXT"], record["text"])
        self.assertEqual(fields["CRASHENV_TAG_TEAM"], "red")
        self.assertEqual(len(fields["MESSAGE_ID"]), 32)
        self.assertTrue(journal.is_empty())

    def test_journald_gets_a_large_one_as_a_file(self) -> None:
        journal = Datagrams(self.folder)
        self.addCleanup(journal.close)
        self.crash("journald:" + journal.path, "raise ValueError('x' * 500_000)")
        data, (fd,) = journal.next()
        self.assertEqual(data, b"")
        self.assertRaises(OSError, os.ftruncate, fd, 0)  # sealed, as journald requires
        self.assertGreater(len(journal_fields(whole_file(fd))["EXCEPTION_TEXT"]), 500_000)

    def test_journald_of_a_signal(self) -> None:
        journal = Datagrams(self.folder)
        self.addCleanup(journal.close)
        self.crash("journald:" + journal.path, "import os; os.abort()")
        fields = journal_fields(journal.next()[0])
        self.assertEqual(fields["COREDUMP_SIGNAL_NAME"], "SIGABRT")
        self.assertEqual(fields["COREDUMP_SIGNAL"], "6")

    def test_no_journald(self) -> None:
        self.fill(1)
        text = self.send("journald:/nonexistent/socket", "--patience=0", status=1)
        self.assertIn("No such file or directory; 1 crash waits", text)

    def test_syslog_of_the_machine(self) -> None:
        log = Datagrams(self.folder)
        self.addCleanup(log.close)
        record = self.crash("syslog:" + log.path)
        line = log.next()[0].decode()
        start = r"^<10>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d app\.py\[%d\]: " % record["pid"]
        self.assertRegex(line, start + r"ValueError: boom \(app\.py:1 in load\); crash ")
        self.assertIn("#012Traceback" if "Traceback" not in line else "Traceback", line)
        self.assertIn("#012  File ", line)
        self.assertTrue(line.isprintable())

    def test_syslog_over_the_network(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            log.bind(("127.0.0.1", 0))
            log.settimeout(DEADLINE)
            record = self.crash("syslog://127.0.0.1:%d" % log.getsockname()[1])
            self.check_5424(log.recv(1 << 16).decode(), record)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(DEADLINE)
            lines: list[bytes] = []

            def serve() -> None:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as stream:
                    lines.append(stream.read())

            thread = threading.Thread(target=serve)
            thread.start()
            record = self.crash("syslog+tcp://127.0.0.1:%d" % server.getsockname()[1])
            thread.join(DEADLINE)
        size, _, line = lines[0].partition(b" ")
        self.assertEqual(int(size), len(line))
        self.check_5424(line.decode(), record)

    def test_ports_of_syslog(self) -> None:
        for url, place in (
            ("syslog://host", ("host", 514)),
            ("syslog://host:1514", ("host", 1514)),
            ("syslog+tcp://[::1]:601", ("::1", 601)),
            ("syslog://[::1]", ("::1", 514)),
        ):
            self.assertEqual(syslog._place(address.Address(url, {})), place)
        self.fill(1)
        self.assertIn("not a number", self.send("syslog://host:x", "--patience=0", status=1))

    def check_5424(self, line: str, record: Any) -> None:
        head = r"^<10>1 %s \S+ app\.py %d crash \[" % (record["time"], record["pid"])
        self.assertRegex(line, head)
        self.assertIn(' id="%s"' % record["id"], line)
        self.assertIn("] ValueError: boom (app.py:1 in load)", line)

    def test_native_dumps_of_the_same_text_are_two_events(self) -> None:
        (frame,) = Splitter().feed(report(BOOM % (1, "A")))
        record: Any = build.record(frame)
        same = content.event_id(record, "a"), content.event_id(record, "b")
        self.assertEqual(same[0], same[1])
        record["kind"], record["time"] = "dump", None
        self.assertNotEqual(content.event_id(record, "a"), content.event_id(record, "b"))
        one = self.receiver()
        path = self.folder / "crash.log"
        path.write_text("Fatal Python error: Aborted\n\nStack (most recent call first):\n" * 2)
        self.send(one, str(path))
        self.send(one, str(path))
        events = [headers["Webhook-Id"] for _, headers, _ in one.kept]
        self.assertEqual((len(events), events[:2]), (4, events[2:]))
        self.assertEqual(len(set(events)), 2)


class Costs(SinkTest):
    HEAVY = ("http.client", "ssl", "urllib.request", "urllib.parse", "socket", "json", "email")

    def test_monitor_loads_nothing_of_the_network(self) -> None:
        source = """
            import sys
            from crashenv._cli import run
            from crashenv._monitor import loop, program, reports
            options = run.options(run._COMMAND.read(sys.argv[1:]))
            for make in options.receivers:
                make(program.Dispositions())
            print(*sorted(sys.modules))
            """
        arguments = ["--sink", "sentry+https://k@h/1", "--sink", "https://h/", "x"]
        result = run(["-I", "-S", "-c", bootstrap(source), *arguments], env=self.env)
        self.assertEqual(result.stderr, b"")
        loaded = set(result.stdout.decode().split())
        self.assertIn("crashenv._monitor.sinks", loaded)
        heavy = set(self.HEAVY) - ({"json"} if PYPY else set())  # whose decoder is in Python
        self.assertEqual(loaded & heavy, set())


def slowly(seconds: float) -> Behaviour:
    def behaviour(request: Request) -> None:
        time.sleep(seconds)
        accept(request)

    return behaviour


def answering(status: int, **headers: str) -> Behaviour:
    return lambda request: request.answer(status, b"{}", **headers)


def at_least(one: Receiver, count: int) -> bool:
    return one.count >= count


def bootstrap(source: str) -> str:
    import textwrap

    path = importable() or str(Path(address.__file__).parents[2])
    return "import sys; sys.path.append(%r)\n" % path + textwrap.dedent(source)


def attributes(place: Any) -> dict[str, Any]:
    found = {}
    for item in place["attributes"]:
        (value,) = item["value"].values()
        found[item["key"]] = value
    return found


def shown(one: Receiver) -> str:
    return address.Address("http://127.0.0.1:%d/hook" % one.port).shown


def cmdline(pid: int) -> bytes:
    try:
        return Path("/proc/%d/cmdline" % pid).read_bytes()
    except OSError:
        return b""


def read_all(fd: int) -> bytes:
    found = b""
    while True:
        try:
            data = os.read(fd, 4096)
        except OSError:  # EIO: the other end is closed
            data = b""
        if not data:
            os.close(fd)
            return found
        found += data


if __name__ == "__main__":
    unittest.main()
