"""A frame of the stream -> a record, whose shape is in ``_schema``."""

from crashenv._reading import dumps, tracebacks

try:
    # hashlib imports OpenSSL, which takes 6 ms and 5 MB.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from crashenv._reading.frames import Frame
    from crashenv._reading.tracebacks import Place
    from crashenv.records import Exception_, Location, Record

SCHEMA = 1
_LONGEST_SUMMARY = 200
_MAIN = "__main__."  # which is not printed from 3.13 on


def record(frame: "Frame") -> "Record":
    """The record of ``frame``; of whatever bytes, for it never fails."""
    text = frame.body.decode("utf-8", "backslashreplace")
    kind = "dump" if frame.kind == "dump" else frame.fields.get("kind", "exception")
    result = _begun(kind, frame.raw, frame.fields, text)
    result["damage"] = frame.damage
    result["omitted"] = frame.omitted or result["omitted"]
    if kind == "dump":
        _add_dump(result, text)
    elif kind == "death":
        _add_death(result, text)
    else:
        _add_exception(result, text)
    return result


def death(pid: int, time: str, program: str, text: str) -> "Record":
    """The record of a death that a monitor saw: ``text`` is what it has to say of it.

    Its first line is the summary. A native dump may follow.
    """
    raw = ("%d %s\n%s" % (pid, time, text)).encode("utf-8", "backslashreplace")
    result = _begun("death", raw, {}, text)
    result["time"], result["pid"], result["program"] = time, pid, program
    _add_death(result, text)
    return result


def _begun(kind: str, raw: bytes, fields: "dict[str, str]", text: str) -> "Record":
    """With what the header says; ``raw`` is what the identifier is made from."""
    return {
        "schema": SCHEMA,
        "id": blake2b(raw, digest_size=8).hexdigest(),
        "kind": kind,
        "time": fields.get("time"),
        "pid": _number(fields.get("pid")),
        "tid": _number(fields.get("tid")),
        "thread": fields.get("thread"),
        "python": fields.get("python"),
        "program": fields.get("program"),
        "damage": None,
        "omitted": _omitted(text),
        "fingerprint": "",
        "summary": "",
        "where": None,
        "header": fields,
        "exception": None,
        "threads": [],
        "dump": None,
        "text": text,
    }


def summary(record: "Record") -> "tuple[str, str]":
    """What happened, and where, which may be empty; each for one line."""
    return record["summary"], record["where"] or ""


def _add_dump(result: "Record", text: str) -> None:
    dump = dumps.parse(text.split("\n"))
    what = dump["reason"] or "stacks of all threads"
    result["dump"] = dump
    result["summary"] = _shorten("%s: %s" % (dump["signal"], what) if dump["signal"] else what)
    _add_place(result, [what], dumps.culprit(dump))


def _add_death(result: "Record", text: str) -> None:
    """Of a death, the first line tells what happened; a dump may follow."""
    result["summary"] = _shorten(text.partition("\n")[0])
    start = dumps.find(text)
    frames = []
    if start >= 0:
        result["dump"] = dump = dumps.parse(text[start:].split("\n"))
        frames = dumps.culprit(dump)
    # Without a frame, only the program tells one killed process from another.
    program = [] if frames else [result["program"] or ""]
    _add_place(result, [result["kind"], result["summary"], *program], frames)


def _add_place(
    result: "Record", types: "list[str]", frames: "Any", syntax: "Optional[Location]" = None
) -> None:
    result["where"] = _where(frames, syntax)
    result["fingerprint"] = _fingerprint(types, frames)


def _add_exception(result: "Record", text: str) -> None:
    others = _other_threads(text)
    if others < len(text):
        result["threads"] = dumps.threads(text[others:].split("\n"))
        text = text[:others]
    exception = tracebacks.parse(text, _note_sizes(result["header"].get("notes", "")))
    if exception is None:
        result["summary"] = _shorten(text.partition("\n")[0])
        _add_place(result, [result["kind"], result["summary"]], [])
        return
    result["exception"] = exception
    result["summary"] = _shorten(_last_line(exception))
    _add_place(result, _types(exception), exception["frames"], exception["syntax"])


def _note_sizes(text: str) -> "list[int]":
    """The header's ``notes``: ``2,1`` of one note with two lines and one with one."""
    sizes = [_number(size) or 0 for size in text.split(",")]
    return sizes if all(sizes) else []


def _other_threads(text: str) -> int:
    """Where the stacks begin that ``crashtraceback=all`` adds."""
    found = text.find("\n\nThread 0x")
    while found >= 0:
        if dumps.is_thread(text[found + 2 : text.find("\n", found + 2)]):
            return found + 1
        found = text.find("\n\nThread 0x", found + 1)
    return len(text)


def _omitted(text: str) -> int:
    """What the writer left out."""
    found = text.find("\n[crashenv: ")
    if found < 0:
        return 0
    return tracebacks.omitted(text[found + 1 : text.find("\n", found + 1)])


def _last_line(exception: "Exception_") -> str:
    message = exception["message"].partition("\n")[0]
    if exception["type"] is None:
        return message
    return exception["type"] + ": " + message if message else exception["type"]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SUMMARY else text[: _LONGEST_SUMMARY - 3] + "..."


def _number(text: "Optional[str]") -> "Optional[int]":
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


def _own(frames: "list[Place]") -> "list[Place]":
    """The program's own of ``frames``; all, where there are none."""
    return [frame for frame in frames if frame.is_own] or frames


def _where(frames: "list[Place]", syntax: "Optional[Location]" = None) -> "Optional[str]":
    """The last place of the program's own: ``app.py:12 in load``."""
    if syntax is not None:
        return "%s:%s" % (tracebacks.base(syntax["file"]), syntax["line"])
    if not frames:
        return None
    frame = _own(frames)[-1]
    return "%s:%s in %s" % (tracebacks.base(frame["file"]), frame["line"], frame["function"])


def _types(exception: "Exception_") -> "list[str]":
    name = exception["type"] or exception["message"]
    if name.startswith(_MAIN):
        name = name[len(_MAIN) :]
    types = [name]
    if exception["exceptions"]:
        types += sorted({sub["type"] or "" for sub in exception["exceptions"]})
    if exception["syntax"] is not None:
        types.append(tracebacks.base(exception["syntax"]["file"]))
    return types


def _fingerprint(types: "list[str]", frames: "list[Place]") -> str:
    """What is the same whenever the same crash happens again.

    Each function counts once: how deep a recursion was is another thing each time.
    """
    names = dict.fromkeys([frame.name for frame in _own(frames)])
    text = "\n".join([*types, *names])
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
