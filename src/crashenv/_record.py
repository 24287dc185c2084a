"""A frame of the stream -> a record, whose shape is in ``_schema``."""

from crashenv import _dump, _traceback

try:
    # hashlib imports OpenSSL, which takes 6 ms and 5 MB.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from crashenv._schema import Exception_, Record, StackFrame
    from crashenv._stream import Frame

SCHEMA = 1
_LONGEST_SUMMARY = 200
# Files of the interpreter and of what was installed; the rest is the program's own.
_NOT_OWN = ("/site-packages/", "/dist-packages/", "/lib-python/", "/lib_pypy/")
_LIBRARIES = ("/lib/python3", "/lib64/python3", "/lib/pypy3", "/Lib/")


def record(frame: "Frame") -> "Record":
    """The record of ``frame``; of whatever bytes, for it never fails."""
    text = frame.body.decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    fields = frame.fields
    result: Record = {
        "schema": SCHEMA,
        "id": blake2b(frame.raw, digest_size=8).hexdigest(),
        "kind": "dump" if frame.kind == "dump" else fields.get("kind", "exception"),
        "time": fields.get("time"),
        "pid": _number(fields.get("pid")),
        "tid": _number(fields.get("tid")),
        "thread": fields.get("thread"),
        "python": fields.get("python"),
        "program": fields.get("program"),
        "header": fields,
        "damage": frame.damage,
        "omitted": frame.omitted or _omitted(text),
        "fingerprint": "",
        "summary": "",
        "where": None,
        "exception": None,
        "threads": [],
        "dump": None,
        "text": text,
    }
    if result["kind"] == "dump":
        _add_dump(result, lines)
    else:
        _add_exception(result, lines)
    return result


def _add_dump(result: "Record", lines: "list[str]") -> None:
    dump = _dump.parse(lines)
    frames = _dump.culprit(dump)
    what = dump["reason"] or "stacks of all threads"
    result["dump"] = dump
    result["summary"] = _shorten("%s: %s" % (dump["signal"], what) if dump["signal"] else what)
    result["where"] = _where(frames)
    result["fingerprint"] = _fingerprint([what], frames)


def _add_exception(result: "Record", lines: "list[str]") -> None:
    others = _other_threads(lines)
    if others < len(lines):
        result["threads"] = _dump.threads(lines[others:])
    exception = _traceback.parse(lines[:others]) if result["kind"] != "death" else None
    result["exception"] = exception
    if exception is None:
        result["summary"] = _shorten(lines[0])
        result["fingerprint"] = _fingerprint([result["kind"], lines[0]], [])
        return
    result["summary"] = _shorten(_last_line(exception))
    result["where"] = _where(exception["frames"], exception)
    result["fingerprint"] = _fingerprint(_types(exception), exception["frames"])


def _other_threads(lines: "list[str]") -> int:
    """Where the stacks begin that ``crashtraceback=all`` adds."""
    for index, line in enumerate(lines):
        if _dump.is_thread(line) and index and not lines[index - 1]:
            return index
    return len(lines)


def _omitted(text: str) -> int:
    """What the writer left out."""
    found = text.find("\n[crashenv: ")
    if found < 0:
        return 0
    return _traceback.omitted(text[found + 1 : text.find("\n", found + 1)])


def _last_line(exception: "Exception_") -> str:
    message = exception["message"].partition("\n")[0]
    if exception["type"] is None:
        return message
    return exception["type"] + ": " + message if message else exception["type"]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SUMMARY else text[: _LONGEST_SUMMARY - 3] + "..."


def _number(text: "Optional[str]") -> "Optional[int]":
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


def is_own(file: str) -> bool:
    """Whether ``file`` is the program's, and not the interpreter's nor a library's."""
    path = file.replace("\\", "/")
    if path.startswith("<frozen ") or path.startswith("<builtin>"):
        return False
    return not any(part in path for part in _NOT_OWN + _LIBRARIES)


def own(frames: "list[StackFrame]") -> "list[StackFrame]":
    """The program's own of ``frames``; all, where there are none."""
    return [frame for frame in frames if is_own(frame["file"])] or frames


def _where(frames: "list[StackFrame]", exception: "Optional[Exception_]" = None) -> "Optional[str]":
    """The last place of the program's own: ``app.py:12 in load``."""
    if exception is not None and exception["syntax"] is not None:
        place = exception["syntax"]
        return "%s:%s" % (_base(place["file"]), place["line"])
    if not frames:
        return None
    frame = own(frames)[-1]
    return "%s:%s in %s" % (_base(frame["file"]), frame["line"], frame["function"])


def _base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


def _types(exception: "Exception_") -> "list[str]":
    types = [exception["type"] or exception["message"]]
    if exception["exceptions"]:
        types += sorted({sub["type"] or "" for sub in exception["exceptions"]})
    if exception["syntax"] is not None:
        types.append(_base(exception["syntax"]["file"]))
    return types


def _fingerprint(types: "list[str]", frames: "list[StackFrame]") -> str:
    """What is the same whenever the same crash happens again.

    Each function counts once: how deep a recursion was is another thing each time.
    """
    places = [_base(frame["file"]) + ":" + frame["function"] for frame in own(frames)]
    text = "\n".join(types + list(dict.fromkeys(places)))
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
