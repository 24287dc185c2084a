"""``sentry+https://KEY@HOST/PROJECT``: an event in an envelope.

https://develop.sentry.dev/sdk/foundations/transport/: envelopes, event payloads, rate
limits. Exceptions have the order and the numbers of sentry-sdk (``exceptions_from_error``):
the raised one is the last, and has the number 0.
"""

import time

from crashenv._reading.encode import to_json
from crashenv._sinks import content, web
from crashenv._sinks.times import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._sinks.address import Address

_MOST_BYTES = 900_000  # of an event; Sentry refuses 1 MiB
# How many frames of a stack, and threads, are sent; the next pair if that is too much.
_SIZES = ((250, 100), (100, 30), (40, 8), (20, 0))
_MOST_EXCEPTIONS = 50
_LONGEST_VALUE = 8192  # characters; Sentry's own limit for a message
_LONGEST_LINE = 512
_LONGEST_TAG = 200
_LONGEST_STDERR = 16384
_MECHANISMS = {"exception": "excepthook", "thread": "threading", "process": "multiprocessing"}
_TAG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-")
_CATEGORIES = ("", "error", "default")


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send; return for how many seconds to pause. Raise Later, Refused or Unusable."""
    folder, _, project = address.path.rpartition("/")
    place = web.url(address, "%s/api/%s/envelope/" % (folder, project))
    text = "Sentry sentry_version=7, sentry_client=%s, sentry_key=%s"
    headers = {
        "Content-Type": "application/x-sentry-envelope",
        "X-Sentry-Auth": text % (content.agent(), address.user),
    }
    answer = web.post(place, envelope(record, event_id), headers)
    return pause(answer.headers.get("X-Sentry-Rate-Limits") or "")


def pause(text: str) -> float:
    """Parse ``60:error;default:organization, 10::project``; return the longest for errors."""
    found = 0.0
    for item in text.split(","):
        seconds, _, rest = item.strip().partition(":")
        categories = rest.partition(":")[0].split(";")
        if seconds.isdecimal() and any(category in _CATEGORIES for category in categories):
            found = max(found, float(seconds[:6]))
    return found


def envelope(record: "Any", event_id: str) -> bytes:
    for frames, threads in _SIZES:
        body = to_json(event(record, event_id, frames, threads)).encode()
        if len(body) <= _MOST_BYTES:
            break
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    head = to_json({"event_id": event_id, "sent_at": now}).encode()
    item = {"type": "event", "length": len(body), "content_type": "application/json"}
    return b"%s\n%s\n%s\n" % (head, to_json(item).encode(), body)


def event(record: "Any", event_id: str, frames: int, threads: int) -> "dict[str, Any]":
    name, _, version = content.agent().partition("/")
    found: dict[str, Any] = {
        "event_id": event_id,
        "timestamp": (nanoseconds(record["time"]) or time.time_ns()) / 1e9,
        "platform": "python",
        "level": "fatal",
        "logger": "crashenv",
        "server_name": content.host(record),
        "fingerprint": [record["fingerprint"]],
        "tags": _tags(record),
        "contexts": _contexts(record),
        "extra": _extra(record),
        "exception": {"values": _exceptions(record, frames)},
        "sdk": {"name": name, "version": version},
    }
    release, environment = content.release(record), content.environment(record)
    if release:
        found["release"] = release.replace("\n", " ")[:_LONGEST_TAG]
    if environment:
        found["environment"] = environment.replace("\n", " ")[:64]
    if not content.frames_of(record):  # otherwise Sentry names the place itself
        found["transaction"] = content.program(record)
    stacks = _threads(record, frames, threads)
    if stacks:
        found["threads"] = {"values": stacks}
    return found


def _tags(record: "Any") -> "dict[str, str]":
    found = {
        "kind": record["kind"],
        "program": content.program(record),
        "signal": content.signal_of(record)[0],
        "worker": record.get("process") or "",
        **(record.get("tags") or {}),
    }
    tags = {}
    for key, value in found.items():
        name = "".join(c if c in _TAG_CHARACTERS else "_" for c in key)[:32]
        if name and value:
            tags[name] = value.replace("\n", " ")[:_LONGEST_TAG]
    return tags


def _contexts(record: "Any") -> "dict[str, Any]":
    keys = ("id", "kind", "fingerprint", "where", "pid", "tid", "parent", "omitted", "damage")
    more = ("lost", "left_out", "redacted", "process", "thread")
    found = {key: record[key] for key in (*keys, *more) if record.get(key) is not None}
    contexts: dict[str, Any] = {"crashenv": {**found, "type": "crashenv"}}
    if record["python"]:
        contexts["runtime"] = {"name": "Python", "version": record["python"], "type": "runtime"}
    if record.get("ending"):
        contexts["ending"] = {**record["ending"], "type": "ending"}
    if record.get("resource"):
        contexts["resource"] = {**record["resource"], "type": "resource"}
    return contexts


def _extra(record: "Any") -> "dict[str, Any]":
    found = {}
    if record.get("command"):
        found["command"] = [word[:_LONGEST_VALUE] for word in record["command"][:100]]
    for key in ("stderr", "last_words"):
        if record.get(key):
            found[key] = record[key][-_LONGEST_STDERR:]
    return found


# --- exceptions


def _exceptions(record: "Any", most: int) -> "list[dict[str, Any]]":
    mechanism = {"type": _MECHANISMS.get(record["kind"], "generic"), "handled": False}
    exception = record.get("exception")
    if exception and exception.get("type") and record["kind"] not in ("death", "dump"):
        values: list[dict[str, Any]] = []
        _add(exception, values, mechanism, most)
        values[0]["thread_id"] = record["tid"]
        return values[::-1]
    return [_native(record, most)]


def _add(
    exception: "Any", values: "list[dict[str, Any]]", mechanism: "dict[str, Any]", most: int
) -> None:
    """Add it, its causes and its members."""
    if len(values) >= _MOST_EXCEPTIONS:
        return
    number = len(values)
    mechanism = {**mechanism, "exception_id": number}
    group = exception["exceptions"]
    if group:
        mechanism["is_exception_group"] = True
    module, _, name = (exception["type"] or "").rpartition(".")
    value = "\n".join([exception["message"], *exception["notes"]])[:_LONGEST_VALUE]
    found: dict[str, Any] = {"type": name, "value": value, "mechanism": mechanism}
    if module:
        found["module"] = module
    frames = content.exception_frames(exception)
    if frames:
        found["stacktrace"] = _stacktrace(frames, most)
    values.append(found)

    chained = {"type": "chained", "handled": False, "parent_id": number}
    if exception.get("cause"):
        _add(exception["cause"], values, {**chained, "source": "__cause__"}, most)
    elif exception.get("context"):
        _add(exception["context"], values, {**chained, "source": "__context__"}, most)
    for index, one in enumerate(group):
        _add(one, values, {**chained, "source": "exceptions[%d]" % index}, most)


def _native(record: "Any", most: int) -> "dict[str, Any]":
    """Return an entry for a signal, or another ending without an exception."""
    name, value = content.type_and_value(record)
    signal, number = content.signal_of(record)
    mechanism: dict[str, Any] = {"type": "signalhandler" if signal else "generic"}
    mechanism["handled"] = False
    if signal:
        mechanism["meta"] = {"signal": {"name": signal, "number": number}}
    found: dict[str, Any] = {"type": name, "value": value[:_LONGEST_VALUE], "mechanism": mechanism}
    frames = content.frames_of(record)
    stack = _stacktrace(frames, most) if frames else {"frames": []}
    c_frames = (record.get("dump") or {}).get("c_stack") or []
    stack["frames"] += [_c_frame(frame) for frame in reversed(c_frames[:most])]
    if stack["frames"]:
        found["stacktrace"] = stack
    return found


# --- stacks


def _stacktrace(frames: "Any", most: int) -> "dict[str, Any]":
    """Return ``frames`` in the order of the calls; the middle of too many is left out."""
    own = content.own_files(frames)
    first, last = most // 2, most - most // 2
    left_out = len(frames) - most
    if left_out > 0:
        frames = frames[:first] + frames[-last:]
    found = [_frame(frame, frame["file"] in own) for frame in frames]
    if left_out > 0:  # shown as a variable of the frame after the gap
        found[first]["vars"] = {"left out before": "%d frames" % left_out}
    return {"frames": found}


def _frame(frame: "Any", is_own: bool) -> "dict[str, Any]":
    path = frame["file"]
    found = {
        "filename": _short(path),
        "abs_path": path,
        "function": frame["function"],
        "lineno": frame["line"],
        "in_app": is_own,
    }
    if frame.get("source"):
        line, _, rest = frame["source"].partition("\n")
        found["context_line"] = line[:_LONGEST_LINE]
        if rest:
            found["post_context"] = [more[:_LONGEST_LINE] for more in rest.split("\n")[:5]]
    if frame.get("repeated"):
        found["vars"] = {"repeated": "%d more times" % frame["repeated"]}
    return found


def _short(path: str) -> str:
    """Return the path relative to its installation, or the file's name for the program's own."""
    for mark in ("/site-packages/", "/dist-packages/", "/lib/python3"):
        _, found, rest = path.rpartition(mark)
        if found:
            return rest.partition("/")[2] if mark.startswith("/lib/") else rest
    return path.rpartition("/")[2] or path


def _c_frame(frame: "Any") -> "dict[str, Any]":
    found = {
        "function": frame["symbol"] or "<unknown>",
        "package": frame["file"],
        "filename": frame["file"].rpartition("/")[2],
        "platform": "native",
        "in_app": False,
    }
    if frame["address"]:
        found["instruction_addr"] = frame["address"]
    return found


def _threads(record: "Any", most: int, most_threads: int) -> "list[dict[str, Any]]":
    """Return the threads of a dump, or of ``crashtraceback=all``, with the one that crashed."""
    dump = record.get("dump")
    others = dump["threads"] if dump else record.get("threads") or []
    found = []
    if not dump and record["tid"] is not None:
        first: dict[str, Any] = {"id": record["tid"], "crashed": True, "current": True}
        if record["thread"]:
            first["name"] = record["thread"]
        found.append(first)
    for thread in others[:most_threads]:
        one: dict[str, Any] = {"crashed": thread["current"], "current": thread["current"]}
        one["id"] = str(thread["id"])
        if thread["name"]:
            one["name"] = thread["name"]
        if thread["frames"]:
            one["stacktrace"] = _stacktrace(thread["frames"][::-1], most)
        found.append(one)
    return found
