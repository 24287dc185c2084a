"""The requests to a collector, parsed by OpenTelemetry's own protocol buffers."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from typing import Any

from tests.driver import ROOT, CommandTest
from tests.sinks_receivers import Request, receiver

HAS_PROTO = importlib.util.find_spec("opentelemetry") is not None
if HAS_PROTO:
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

CHAIN = """
def start():
    try:
        {}["host"]
    except KeyError as error:
        raise RuntimeError("cannot start \\udc80 \\x00") from error
start()
"""
PROGRAMS = (
    ("chain.py", CHAIN, "RuntimeError"),
    ("syntax.py", "if x\n", "SyntaxError"),
    ("killed.py", "import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    ("native.py", "import os; os.abort()", "SIGABRT"),
)


@unittest.skipUnless(HAS_PROTO, "not installed: opentelemetry-proto")
class Collector(CommandTest):
    def test_whatever_a_crash_has_is_understood(self) -> None:
        count = 0

        def collect(request: Request) -> None:
            nonlocal count
            json_format.Parse(request.body, logs_service_pb2.ExportLogsServiceRequest())
            count += 1
            request.answer(200)

        texts = sorted(str(path) for path in (ROOT / "tests" / "corpus").glob("*/*.txt"))
        lines = self.check_output("list", "--json", *texts).splitlines()
        with receiver(collect) as one:
            url = "otlp+http://127.0.0.1:%d" % one.port
            result = self.crashenv("send", "--sink", url, "--sink-limit=0", *texts)
        self.assertEqual((result.status, count), (0, len(lines)), str(result))

    def parsed(self, source: str, name: str) -> Any:
        """Return the resource logs of one crash. An unknown field or a wrong type is an error."""
        messages = []

        def collect(request: Request) -> None:
            message = logs_service_pb2.ExportLogsServiceRequest()
            json_format.Parse(request.body, message)
            messages.append(message)
            request.keep()
            answer = logs_service_pb2.ExportLogsServiceResponse()
            request.answer(200, json_format.MessageToJson(answer).encode())

        self.env["OTEL_RESOURCE_ATTRIBUTES"] = "service.version=1.2"
        with receiver(collect) as one:
            url = "otlp+http://127.0.0.1:%d" % one.port
            self.run_monitored([sys.executable, self.write(name, source)], "--sink", url)
        (message,) = messages
        (logs,) = message.resource_logs
        return logs

    def test_each_kind(self) -> None:
        for name, source, kind in PROGRAMS:
            with self.subTest(name):
                logs = self.parsed(source, name)
                record = self.records()[-1]
                resource = attributes(logs.resource)
                self.assertEqual(resource["service.version"], "1.2")
                self.assertEqual(resource["service.name"], "unknown_service:" + name)
                self.assertEqual(resource["process.pid"], record["pid"])
                self.assertEqual(resource["process.command_args"], record["command"])
                (log,) = logs.scope_logs[0].log_records
                self.assertEqual(log.severity_number, 21)
                self.assertEqual(log.body.string_value, record["summary"])
                found = attributes(log)
                self.assertEqual(found["exception.type"], kind)
                self.assertEqual(found["log.record.uid"][:16], record["id"])
                self.assertLess(abs(log.observed_time_unix_nano - log.time_unix_nano), 60 * 10**9)


def attributes(place: Any) -> dict[str, Any]:
    return {item.key: value(item.value) for item in place.attributes}


def value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in any_value.array_value.values]
    return getattr(any_value, kind)


if __name__ == "__main__":
    unittest.main()
