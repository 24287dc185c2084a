"""``otlp+http://HOST:4318``: a log record, by OTLP/HTTP in its JSON encoding.

OTLP 1.5, and the semantic conventions 1.37 for ``exception``, ``process``, ``thread``,
``code`` and ``log.record.uid``, which identifies duplicates. Headers and resource come
from the variables of OpenTelemetry's own SDKs.
"""

import json
import os
import time
from urllib.parse import unquote

import crashenv
from crashenv._reading.encode import to_json
from crashenv._sinks import content, web
from crashenv._sinks.outcomes import Refused
from crashenv._sinks.times import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._sinks.address import Address

_FATAL = 21  # SeverityNumber
_PATH = "/v1/logs"
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS")
_LONGEST = 1 << 16  # characters of an attribute


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send it. Raise Later, Refused or Unusable."""
    path = address.path.rstrip("/")
    place = web.url(address, path if path.endswith(_PATH) else path + _PATH)
    headers = {"Content-Type": "application/json", **_headers(), **web.login(address)}
    answer = web.post(place, to_json(request(record, event_id)).encode(), headers)
    rejected = _rejected(answer.body)
    if rejected:
        raise Refused(rejected)
    return 0.0


def _headers() -> "dict[str, str]":
    """Parse W3C Baggage: ``name=value,name=value``, percent-encoded."""
    found = {}
    for variable in _HEADERS:
        for item in os.environ.get(variable, "").split(","):
            name, equals, value = item.partition("=")
            if equals:
                found[name.strip()] = unquote(value.strip())
    return found


def _rejected(body: bytes) -> str:
    """Return what a "partial success" says about the one record that was sent."""
    try:
        answer = json.loads(body)["partialSuccess"]
        count, message = int(answer["rejectedLogRecords"]), str(answer.get("errorMessage", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return "%d rejected: %s" % (count, message[:200]) if count else ""


def request(record: "Any", event_id: str) -> "dict[str, Any]":
    """Return an ExportLogsServiceRequest."""
    scope = {"name": "crashenv", "version": crashenv.__version__}
    logs = {"scope": scope, "logRecords": [_log_record(record, event_id)]}
    resource = {"attributes": _attributes(_resource(record))}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [logs]}]}


def _log_record(record: "Any", event_id: str) -> "dict[str, Any]":
    return {
        "timeUnixNano": str(nanoseconds(record["time"]) or time.time_ns()),
        "observedTimeUnixNano": str(time.time_ns()),
        "severityNumber": _FATAL,
        "severityText": "FATAL",
        "body": {"stringValue": record["summary"]},
        "attributes": _attributes(_of_record(record, event_id)),
    }


def _of_record(record: "Any", event_id: str) -> "dict[str, Any]":
    kind, message = content.type_and_value(record)
    place = content.place(record) or {}
    ending = record.get("ending") or {}
    return {
        "exception.type": kind,
        "exception.message": message,
        "exception.stacktrace": record["text"],
        "thread.id": record["tid"],
        "thread.name": record["thread"],
        "code.file.path": place.get("file"),
        "code.line.number": place.get("line"),
        "code.function.name": place.get("function"),
        "process.exit.code": ending.get("status"),
        "log.record.uid": event_id,
        "crashenv.id": record["id"],
        "crashenv.kind": record["kind"],
        "crashenv.fingerprint": record["fingerprint"],
        "crashenv.where": record["where"],
        "crashenv.signal": content.signal_of(record)[0] or None,
        "crashenv.worker": record.get("process"),
        "crashenv.stderr": record.get("stderr"),
        "crashenv.last_words": record.get("last_words"),
        "crashenv.left_out": record.get("left_out"),
        "crashenv.redacted": record.get("redacted"),
        **(record.get("tags") or {}),
    }


def _resource(record: "Any") -> "dict[str, Any]":
    return {
        "service.name": "unknown_service:" + (content.program(record) or "python"),
        "host.name": content.host(record),
        **(record.get("resource") or {}),
        "service.version": content.release(record) or None,
        "deployment.environment.name": content.environment(record) or None,
        "process.pid": record["pid"],
        "process.parent_pid": record.get("parent"),
        "process.command_args": record.get("command"),
        "process.runtime.name": "python" if record["python"] else None,
        "process.runtime.version": record["python"],
    }


def _attributes(values: "dict[str, Any]") -> "list[dict[str, Any]]":
    return [
        {"key": key, "value": _value(value)} for key, value in values.items() if value is not None
    ]


def _value(value: "Any") -> "dict[str, Any]":
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # protobuf's JSON has 64-bit integers as strings
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": _cut(str(value))}


def _cut(text: str) -> str:
    """Keep the end of a long text, which names the exception."""
    return text if len(text) <= _LONGEST else "...\n" + text[-_LONGEST:]
