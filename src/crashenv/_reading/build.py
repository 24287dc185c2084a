"""Turn a frame of the stream into a record, whose type is in ``records``."""

from crashenv._reading import dumps, own, tracebacks

try:
    # hashlib imports OpenSSL, which takes 6 ms and 5 MB.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

    from crashenv._reading.frames import Frame
    from crashenv._reading.own import Known
    from crashenv.records import Exception_, Location, Record, StackFrame

SCHEMA = 1
_LONGEST_SUMMARY = 200
_MOST_LEAVES = 20  # of a group, in its summary
_MAIN = "__main__."  # it is not printed from 3.13 on


def record(frame: "Frame") -> "Record":
    """Return the record of ``frame``. This never fails, whatever the bytes are."""
    text = frame.body.decode("utf-8", "backslashreplace")
    if frame.kind != "report":
        text = text.replace("\r\n", "\n")
    kind = frame.kind if frame.kind != "report" else frame.fields.get("kind", "exception")
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
    """Return the record of a death that a monitor saw; ``text`` is the monitor's description.

    Its first line is the summary. A native dump may follow.
    """
    raw = ("%d %s\n%s" % (pid, time, text)).encode("utf-8", "backslashreplace")
    result = _begun("death", raw, {}, text)
    result["time"], result["pid"], result["program"] = time, pid, program
    _add_death(result, text)
    return result


def _begun(kind: str, raw: bytes, fields: "dict[str, str]", text: str) -> "Record":
    """Return a record with the header's values; the identifier is a hash of ``raw``."""
    return {
        "schema": SCHEMA,
        "id": blake2b(raw, digest_size=8).hexdigest(),
        "kind": kind,
        "time": fields.get("time"),
        "pid": _number(fields.get("pid")),
        "tid": _number(fields.get("tid")),
        "thread": fields.get("thread"),
        "process": fields.get("process"),
        "python": fields.get("python"),
        "program": fields.get("program"),
        "damage": None,
        "omitted": _omitted(text),
        "fingerprint": "",
        "summary": "",
        "where": None,
        "header": fields,
        "tags": {key[4:]: fields[key] for key in fields if key.startswith("tag.")},
        "exception": None,
        "threads": [],
        "dump": None,
        "text": text,
    }


def summary(record: "Record") -> "tuple[str, str]":
    """Return what happened, and where, which may be empty; each on one line."""
    return record["summary"], record["where"] or ""


def _add_dump(result: "Record", text: str) -> None:
    dump = dumps.parse(text.split("\n"))
    what = dump["reason"] or "stacks of all threads"
    result["dump"] = dump
    result["summary"] = _shorten("%s: %s" % (dump["signal"], what) if dump["signal"] else what)
    result["exception"] = exception = _raised_meanwhile(text)
    if exception is not None:
        result["summary"] = _shorten(result["summary"] + ": " + _last_line(exception))
    kind = "Timeout" if what.startswith("Timeout (") else what
    frames = dumps.culprit(dump)
    if exception is not None:
        frames = frames or exception["frames"]
    _add_place(result, [kind], frames)
    result["where"] = result["where"] or dumps.library(dump)


def _raised_meanwhile(text: str) -> "Optional[Exception_]":
    """Return the exception that the interpreter names between reason and stacks, if any.

    Such as "No module named 'encodings'", or "returned NULL without setting an exception".
    """
    stack = text.find("(most recent call first")
    before = text if stack < 0 else text[:stack].rpartition("\n")[0]
    reason, _, rest = before.partition("\n")
    lines = [line for line in rest.split("\n") if not line.startswith("Python runtime state")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not reason.startswith("Fatal Python error: ") or not lines:
        return None
    exception = tracebacks.parse("\n".join(lines))
    return exception if exception is not None and exception["type"] is not None else None


def _add_death(result: "Record", text: str) -> None:
    """Add the values of a death: the first line is the summary; a dump may follow."""
    result["summary"] = _shorten(text.partition("\n")[0])
    start = dumps.find(text)
    frames = []
    if start >= 0:
        result["dump"] = dump = dumps.parse(text[start:].split("\n"))
        frames = dumps.culprit(dump)
    # Without frames, killed processes differ only in their program.
    program = [] if frames else [result["program"] or ""]
    _add_place(result, [result["kind"], result["summary"], *program], frames)
    if result["dump"] is not None:
        result["where"] = result["where"] or dumps.library(result["dump"])


def _add_place(
    result: "Record",
    types: "list[str]",
    frames: "list[StackFrame]",
    syntax: "Optional[Location]" = None,
) -> None:
    known = own.own(frames)
    result["where"] = _where(known, syntax)
    result["fingerprint"] = _fingerprint(types, known)


def _add_exception(result: "Record", text: str) -> None:
    others = _other_threads(text)
    if others < len(text):
        result["threads"] = dumps.threads(text[others:].split("\n"))
        text = text[:others]
    if result["damage"]:
        text = tracebacks.with_empty_lines(text)
    header = result["header"]
    message = _number(header.get("message")) or 0
    sizes = _note_sizes(header.get("notes", ""))
    exception = tracebacks.parse(text, sizes, message, result["program"])
    if exception is None:
        result["summary"] = _shorten(text.partition("\n")[0])
        _add_place(result, [result["kind"], result["summary"]], [])
        return
    result["exception"] = exception
    if result["kind"] == "traceback":
        result["thread"] = tracebacks.thread(text)
    result["summary"] = _shorten(_summary(exception))
    _add_place(result, _types(exception), exception["frames"], exception["syntax"])


def _note_sizes(text: str) -> "list[int]":
    """Parse the header's ``notes``: ``2,1`` for one note with two lines and one with one."""
    sizes = [_number(size) or 0 for size in text.split(",")]
    return sizes if all(sizes) else []


def _other_threads(text: str) -> int:
    """Return where the stacks of ``crashtraceback=all`` begin."""
    found = text.find("\n\nThread 0x")
    while found >= 0:
        if dumps.is_thread(text[found + 2 : text.find("\n", found + 2)]):
            return found + 1
        found = text.find("\n\nThread 0x", found + 1)
    return len(text)


def _omitted(text: str) -> int:
    """Return how many bytes the writer left out."""
    found = text.find("\n[crashenv: ")
    if found < 0:
        return 0
    return tracebacks.omitted(text[found + 1 : text.find("\n", found + 1)])


def _summary(exception: "Exception_") -> str:
    """Return the summary; for a group, with its leaves."""
    leaves = _leaves(exception)
    text = _last_line(exception)
    if leaves:
        text += ": " + "; ".join([_last_line(leaf) for leaf in leaves[:_MOST_LEAVES]])
    return text


def _leaves(exception: "Exception_") -> "list[Exception_]":
    found = []
    for one in exception["exceptions"]:
        found += _leaves(one) if one["exceptions"] else [one]
    return found


def _last_line(exception: "Exception_") -> str:
    message = exception["message"].partition("\n")[0]
    if exception["type"] is None:
        return message
    return exception["type"] + ": " + message if message else exception["type"]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SUMMARY else text[: _LONGEST_SUMMARY - 3] + "..."


def _number(text: "Optional[str]") -> "Optional[int]":
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


def _where(frames: "Sequence[Known]", syntax: "Optional[Location]" = None) -> "Optional[str]":
    """Return the last of the program's own ``frames``: ``app.py:12 in load``.

    For a SyntaxError, return its location, if it is in a file of the program; otherwise
    return where the program compiled the text.
    """
    if syntax is not None and (not frames or _is_in_file(syntax["file"])):
        return "%s:%s" % (tracebacks.base(syntax["file"]), syntax["line"])
    if not frames:
        return None
    frame = frames[-1].frame
    line = "" if frame["line"] is None else ":%d" % frame["line"]
    return "%s%s in %s" % (tracebacks.base(frame["file"]), line, frame["function"])


def _is_in_file(file: str) -> bool:
    return not file.startswith("<") and own.is_own(file)


def _types(exception: "Exception_") -> "list[str]":
    name = exception["type"] or exception["message"]
    if name.startswith(_MAIN):
        name = name[len(_MAIN) :]
    types = [name]
    if exception["exceptions"]:
        types += sorted({leaf["type"] or "" for leaf in _leaves(exception)})
    if exception["syntax"] is not None:
        types.append(tracebacks.base(exception["syntax"]["file"]))
    return types


def _fingerprint(types: "list[str]", frames: "Sequence[Known]") -> str:
    """Return a text that is the same whenever the same crash happens again.

    Each function counts once, because the depth of a recursion varies.
    """
    names = dict.fromkeys([frame.name for frame in frames])
    text = "\n".join((*types, *names))
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
