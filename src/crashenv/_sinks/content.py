"""The content of a record for all sinks, without its secrets."""

import signal
import socket

import crashenv
from crashenv._reading import dumps, own
from crashenv._reading.tracebacks import base
from crashenv._redact import redact, redact_words

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import Any


class Redaction:
    """Removes secrets, and matches of ``extra``, from records; ``count`` is how many."""

    def __init__(self, extra: "Sequence[re.Pattern[str]]") -> None:
        self.count = 0
        self._extra = extra
        self._kept: dict[str, tuple[str, int]] = {}

    def record(self, record: "Any") -> "Any":
        """Return a redacted copy, in which ``redacted`` is how many texts were replaced."""
        before = self.count
        self._kept.clear()
        found = self._value(record)
        if record.get("command"):
            found["command"] = self._command(record["command"])
        found["redacted"] = self.count - before
        return found

    def _value(self, value: "Any") -> "Any":
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items() if key != "command"}
        return value

    def _text(self, text: str) -> str:
        if text not in self._kept:
            self._kept[text] = redact(_encodable(text), self._extra)
        found, count = self._kept[text]
        self.count += count
        return found

    def _command(self, words: "Any") -> "list[str]":
        found, count = redact_words([_encodable(str(word)) for word in words], self._extra)
        self.count += count
        return found


def _encodable(text: str) -> str:
    """Escape lone surrogates, which most receivers do not accept."""
    return text.encode("utf-8", "backslashreplace").decode()


def event_id(record: "Any", name: str) -> str:
    """Return 32 digits, always the same for one crash, which begin with the record's id.

    A native dump has neither time nor process, so two of them may have the same text. They
    differ in the time at which a monitor stored them, or in ``name``.
    """
    seed = record["id"]
    if record["kind"] == "dump":
        seed += record["time"] or name
    rest: str = blake2b(seed.encode(), digest_size=8).hexdigest()
    begin = record["id"] if len(record["id"]) == 16 else rest
    return begin + rest


def own_files(frames: "Any") -> "set[str]":
    """Return the program's own files among the frames, which are in the order of the calls."""
    return {known.frame["file"] for known in own.own(frames)}


def frames_of(record: "Any") -> "list[Any]":
    """Return the frames of the crash in the order of the calls, last a SyntaxError's location."""
    exception = record.get("exception")
    if exception:
        return exception_frames(exception)
    if record.get("dump"):
        return list(dumps.culprit(record["dump"]))
    return []


def exception_frames(exception: "Any") -> "list[Any]":
    frames = list(exception["frames"])
    syntax = exception.get("syntax")
    if syntax:
        place = {"file": syntax["file"], "line": syntax["line"], "source": syntax["text"]}
        frames.append({**place, "function": "<module>", "columns": None, "repeated": 0})
    return frames


def place(record: "Any") -> "dict[str, Any] | None":
    """Return the last frame of the program's own code."""
    frames = frames_of(record)
    if record.get("exception") and record["exception"].get("syntax"):
        return dict(frames[-1])
    found = own.own(frames)
    return dict(found[-1].frame) if found else None


def signal_of(record: "Any") -> "tuple[str, int]":
    """Return name and number of the signal that killed it; ``("", 0)`` if none is known."""
    dump, ending = record.get("dump"), record.get("ending")
    name = record["kind"] == "death" and ending and ending.get("signal")
    name = name or (dump and dump.get("signal")) or ""
    return name, int(getattr(signal, name, 0)) if name else 0


def type_and_value(record: "Any") -> "tuple[str, str]":
    """Return two parts, as for exceptions: ``SIGSEGV`` and ``Segmentation fault``."""
    exception = record.get("exception")
    if exception and exception.get("type"):
        return exception["type"], exception["message"]
    name, number = signal_of(record)
    if name:
        ending = record.get("ending") or {}
        if name == "SIGKILL" and ending.get("oom_kills"):
            return name, "Killed by the OOM killer"
        return name, signal.strsignal(number) or name if number else name
    dump = record.get("dump")
    if dump and dump.get("reason"):
        return "Fatal Python error", dump["reason"]
    return record["kind"], record["summary"]


def program(record: "Any") -> str:
    return base(record.get("program") or "")


def release(record: "Any") -> str:
    resource = record.get("resource") or {}
    tags = record.get("tags") or {}
    return tags.get("release") or record.get("release") or resource.get("service.version") or ""


def environment(record: "Any") -> str:
    resource = record.get("resource") or {}
    tags = record.get("tags") or {}
    return (
        tags.get("environment")
        or record.get("environment")
        or resource.get("deployment.environment.name")
        or resource.get("deployment.environment")
        or ""
    )


def host(record: "Any") -> str:
    return (record.get("resource") or {}).get("host.name") or socket.gethostname()


def agent() -> str:
    return "crashenv/" + crashenv.__version__
