"""Parse the text that ``traceback`` prints, on CPython 3.9 to 3.15 and PyPy.

This never fails: it returns what it finds in a damaged text, or one that is no traceback.
It examines each line once, and recurses only into groups, to a limited depth.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional, Union

    from crashenv.records import Exception_, Location, StackFrame

    # A line, frames with what tells of them, the sub-exceptions of a group.
    Item = Union[str, "Stack", list["list[Item]"]]

# A JSON text of this nests less than 256 deep, which is as far as jq 1.6 reads.
MOST_IN_CHAIN = 20
DEEPEST_GROUP = 10  # as traceback's own max_group_depth

_HEADER = "Traceback (most recent call last):"
_GROUP_HEADER = "Exception Group Traceback (most recent call last):"
_HEADERS = (_HEADER, _GROUP_HEADER)
_GROUP_AT_TOP = "  + " + _GROUP_HEADER
_LINKS = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
# multiprocessing.pool's, concurrent.futures' and loky's; billiard's
_REMOTE = ("RemoteTraceback:", "ExceptionWithTraceback:")
_QUOTATION = '"""'
_FRAME = '  File "'
_SOURCE = "    "
_REPEATED = "  [Previous line repeated "
_OMISSION = ("[crashenv: ", " bytes left out]")
_RULE = "+------------------------------------"
_NO_NAME = ("", " ", "[")
_IN_NAME = str.maketrans("", "", ".<>()")  # ray.exceptions.RayTaskError(ValueError)


def parse(
    text: str, notes: "Sequence[int]" = (), message: int = 0, program: "str | None" = None
) -> "Optional[Exception_]":
    """Return the exception in ``text``, which is the last one of its chain.

    ``message`` is how many lines its message has, and ``notes`` how many each of its
    notes has (PEP 678): both are printed alike, and a message may quote a chain of
    exceptions. If it is unknown, it is 0: then it is guessed from the text and from where
    ``program`` is.
    """
    if text.endswith("\n"):
        text = text[:-1]
    tail: list[str] = []
    if _GROUP_AT_TOP in text:
        is_chain = any(link in text for link in _LINKS)
        items = _items(_with_groups(text.split("\n")))
    else:
        items = _with_stacks(text)
        is_chain = not _LINKS.keys().isdisjoint(items)
        if is_chain:
            text, tail = _without_message(text, message + sum(notes))
            items = [*_with_stacks(text), *tail] if tail else items
    begin = _begin(items)
    end = begin
    if is_chain:
        end = len(items) - len(tail) if tail else _begin_of_quotation(items, begin, program)
    exception = _chain(items, begin, 0, end)
    if exception is not None and notes:
        _take_notes(exception, notes)
    return exception


def _without_message(text: str, count: int) -> "tuple[str, list[str]]":
    """Return ``text`` without its last ``count`` lines, and these, if they are a message."""
    lines = text.split("\n")
    tail = lines[len(lines) - count :] if 0 < count < len(lines) else []
    if not tail or any(map(omitted, tail)) or _split_type(tail[0])[0] is None:
        return text, []
    return "\n".join(lines[: len(lines) - count]), tail


def _take_notes(exception: "Exception_", sizes: "Sequence[int]") -> None:
    lines = [*exception["message"].split("\n"), *exception["notes"]]
    position = len(lines) - sum(sizes)
    if position < 1:  # the report was shortened
        return
    exception["message"], exception["notes"] = "\n".join(lines[:position]), []
    for size in sizes:
        exception["notes"].append("\n".join(lines[position : position + size]))
        position += size


def with_empty_lines(text: str) -> str:
    """``text`` with those around the links of a chain, which journald drops."""
    for link in _LINKS:
        if "\n" + link + "\n" in text and "\n\n" + link + "\n\n" not in text:
            text = text.replace("\n" + link + "\n", "\n\n" + link + "\n\n")
    return text


def omitted(line: str) -> int:
    """Return how many bytes the writer left out, if ``line`` says so; otherwise 0."""
    begin, end = _OMISSION
    if line.startswith(begin) and line.endswith(end):
        count = line[len(begin) : -len(end)]
        if count.isdecimal() and len(count) < 20:
            return int(count)
    return 0


_THREAD = "Exception in thread "
_TITLES = (_THREAD, "Exception ignored in thread ", "Process ")


def thread(text: str) -> "str | None":
    """The name of the thread, of a text that begins with it."""
    return text.partition("\n")[0][len(_THREAD) : -1] if text.startswith(_THREAD) else None


def _begin(items: "list[Item]") -> int:
    """Skip "Exception in thread ...:" and the like, even if the thread's name has several lines.

    An exception that was never raised, as some causes, has no header and no frames.
    """
    first = items[0] if items else ""
    if isinstance(first, str) and first.startswith(_TITLES):
        ends = []
        for index, item in enumerate(items[:-1]):
            if isinstance(item, str) and item in _LINKS:
                break
            if isinstance(item, str) and item.endswith(":") and item not in _HEADERS:
                ends.append(index + 1)
        for end in ends:
            if not isinstance(items[end], str) or items[end] in _HEADERS:
                return end
        for end in ends:
            if _split_type(str(items[end]))[0]:
                return end
    is_text = {*map(type, items)} <= {str} and not any(header in items for header in _HEADERS)
    for index, item in enumerate(items[:1] if is_text else items):
        if not isinstance(item, str) or item in _HEADERS:
            return index
        if not index and _split_type(item)[0]:
            break
    return 0 if items and _split_type(str(items[0]))[0] else 1


def _begin_of_quotation(items: "list[Item]", begin: int, program: "str | None") -> int:
    """Return where the message of the last exception quotes another program's chain.

    A header without a link before it is in a message. The links after it are the
    program's if the last exception's traceback begins where this program does; otherwise
    they are quoted too. Without a quotation, return the number of items.
    """
    quoted = 0
    for index in range(begin + 1, len(items)):
        item = items[index]
        if isinstance(item, str) and item in _HEADERS and not _follows_link(items, index):
            quoted = index
            break
    if not quoted:
        return len(items)
    last = -1
    for index in range(quoted, len(items) - 2):
        item = items[index]
        if isinstance(item, str) and item in _LINKS and _is_link(items, index):
            last = index + 2
    if last < 0:
        return len(items)
    start = begin
    for index in range(begin, quoted):
        item = items[index]
        if isinstance(item, str) and item in _HEADERS:
            start = index
    first, entry = _first_file(items, start), _first_file(items, last)
    if entry is None or first == entry or entry == program:
        return len(items)
    return quoted if first is not None else len(items)


def _follows_link(items: "list[Item]", index: int) -> bool:
    return index >= 2 and items[index - 1] == "" and items[index - 2] in list(_LINKS)


def _first_file(items: "list[Item]", start: int) -> "str | None":
    for item in items[start : start + 2]:
        if isinstance(item, Stack):
            return item.frames[0]["file"] if item.frames else item.syntax and item.syntax["file"]
    return None


# --- groups: an item that is a list holds the sub-exceptions


def _with_groups(lines: "list[str]") -> "list[Any]":
    """Remove the margins of exception groups.

    If the last sub-exception of a group is a group, only the innermost has a rule
    below. 3.11 prints some lines in groups without a margin.
    """
    root: list[Any] = []
    regions = [root]
    in_group = False
    for line in lines:
        if line in (_GROUP_AT_TOP, _HEADER) or line in _LINKS:
            if len(regions) > 1 and regions[-1][-1:] == [""]:
                root.append(regions[-1].pop())
            del regions[1:]
            in_group = line == _GROUP_AT_TOP
            root.append(_GROUP_HEADER if in_group else line)
            continue
        margin = "  " * len(regions) + "| "
        if not in_group or line.startswith(margin):
            regions[-1].append(line[len(margin) :] if in_group else line)
            continue
        column = len(line) - len(line.lstrip(" "))
        mark, content = line[column : column + 2], line[column + 2 :]
        level = column // 2
        if mark not in ("| ", "|", "+-") or not 1 <= level <= len(regions):
            regions[-1].append(line)
            continue
        del regions[level:]
        if mark != "+-":
            regions[-1].append(content)
        elif content.startswith("+-"):
            first: list[Any] = []
            regions[-1].append([first])
            regions.append(first)
        elif level == 1:
            regions[-1].append(line)
        elif line[column:] == _RULE:
            regions.pop()
            in_group = level > 2
        elif isinstance(regions[-2][-1], list):
            regions[-1] = []
            regions[-2][-1].append(regions[-1])
    return root


def _items(region: "list[Any]") -> "list[Item]":
    """``region`` with stacks in place of the lines that tell of them."""
    items: list[Item] = []
    lines: list[str] = []
    for part in region:
        if isinstance(part, str):
            lines.append(part)
            continue
        items += _with_stacks("\n".join(lines)) if lines else ()
        items.append(part)
        lines = []
    return items + (_with_stacks("\n".join(lines)) if lines else [])


def _sub_exceptions(exception: "Exception_", children: "list[Any]", depth: int) -> None:
    for region in children:
        first = str(region[0]) if region else ""
        if first.startswith("and ") and first.endswith((" exception", " exceptions")):
            exception["omitted"] += _number(first.split(" ")[1])
        elif depth == DEEPEST_GROUP or first.startswith("... (max_group_depth is "):
            exception["omitted"] += 1
        else:
            items = _items(region)
            child = _chain(items, 0, depth + 1)
            if child is not None:
                exception["exceptions"].append(child)


# --- chains


def _chain(
    items: "list[Item]", start: int, depth: int, end: "int | None" = None
) -> "Optional[Exception_]":
    """Return the last exception of a chain, and through it the others.

    From ``end`` on there are no links, but a message.
    """
    bounds, links = [start], []
    quotes = 0
    for index in range(start, min(len(items) - 2, len(items) if end is None else end)):
        item = items[index]
        if not isinstance(item, str):
            continue
        # What was raised in another process stands in three quotation marks, which nest.
        if item == _QUOTATION:
            is_remote = str(items[index - 1]).rstrip(" ").endswith(_REMOTE)
            quotes = max(0, quotes + (1 if is_remote else -1))
        elif not quotes and item in _LINKS and index >= start + 2 and _is_link(items, index):
            links.append(_LINKS[item])
            bounds.append(index + 2)
    bounds.append(len(items) + 2)
    count = len(links) + 1
    half = MOST_IN_CHAIN // 2
    shown = [n for n in range(count) if n < half or n >= count - half]
    last: Optional[Exception_] = None
    before = -1
    for n in shown:
        exception = _exception(items[bounds[n] : bounds[n + 1] - 3 + (n + 1 == count)], depth)
        if exception is None:
            continue
        exception["omitted"] += n - before - 1
        if last is not None:
            if links[n - 1] == "cause":
                exception["cause"] = last
            else:
                exception["context"] = last
        last, before = exception, n
    return last


def _is_link(items: "list[Item]", index: int) -> bool:
    if items[index - 1] != "" or items[index + 1] != "":
        return False
    after = items[index + 2]
    if isinstance(after, str):
        return after in _HEADERS or _split_type(after)[0] is not None
    return isinstance(after, Stack)


# --- one exception


def new_exception() -> "Exception_":
    return {
        "type": None,
        "message": "",
        "notes": [],
        "frames": [],
        "syntax": None,
        "cause": None,
        "context": None,
        "exceptions": [],
        "omitted": 0,
    }


def _exception(items: "list[Item]", depth: int) -> "Optional[Exception_]":
    exception = new_exception()
    position = _frames(items, int(bool(items) and items[0] in _HEADERS), exception)
    rest: list[Any] = items[position:]
    message = rest if {*map(type, rest)} <= {str} else _message(rest, exception, depth)
    if message:
        exception["type"], message[0] = _split_type(message[0])
        last = _last_of_message(exception["type"], message)
        exception["message"] = "\n".join(message[:last])
        exception["notes"] = message[last:]
    return exception if message or exception["frames"] else None


def _message(items: "list[Item]", exception: "Exception_", depth: int) -> "list[str]":
    """The lines of ``items``, whose sub-exceptions are taken."""
    lines: list[str] = []
    for item in items:
        if isinstance(item, list):
            _sub_exceptions(exception, item, depth)
        elif isinstance(item, str):
            lines.append(item)
        else:
            lines += [_FRAME + text for text in item.texts]
    return lines


def _last_of_message(name: "str | None", message: "list[str]") -> int:
    """Return where notes begin, if that is certain: they look like further lines of a message."""
    if name == "KeyError":  # shows its argument's repr(), which may have more than a line
        return _end_of_repr(message)
    for index, line in enumerate(message if " sub-exception" in "\n".join(message) else ()):
        if line.endswith((" sub-exception)", " sub-exceptions)")):
            return index + 1
    return len(message)


def _end_of_repr(lines: "list[str]") -> int:
    """Return after how many lines a repr() ends: then no bracket is open, and no blank is first."""
    if lines[0] != lines[0].strip():
        return len(lines)
    depth = 0
    for index, line in enumerate(lines):
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth <= 0:
            return index + 1
    return len(lines)


def _split_type(line: str) -> "tuple[Optional[str], str]":
    """Split ``module.Name: message`` into name and message; no name if it cannot be one."""
    name, _, message = line.partition(": ")
    if not _ and name.endswith(":"):
        name = name[:-1]
    if name in _names:
        return name, message
    if not name.translate(_IN_NAME).isidentifier() or "()" in name:
        return None, line
    if len(_names) < _MOST_KEPT and len(name) <= _LONGEST_KEPT:
        _names.add(name)
    return name, message


def _frames(items: "list[Item]", position: int, exception: "Exception_") -> int:
    """Read the frames at ``position``; return where the message begins."""
    frames = exception["frames"]
    cut = False
    while position < len(items):
        item = items[position]
        if isinstance(item, Stack):
            frames += item.frames
            exception["syntax"] = item.syntax or exception["syntax"]
            position += 1
        elif item == "" and _is_airy(items, position):
            position += 1
        elif not cut and _is_cut(items, position):
            cut = True  # a writer cuts once
            if frames and isinstance(item, str) and omitted(item):
                frames.pop()  # whose function's name may be cut
            position = _after_cut(items, position)
        else:
            break
    return position


def _is_airy(items: "list[Item]", position: int) -> bool:
    """Whether loguru put the empty line there: before a frame, and behind the last one."""
    return items[1:2] == [""] and position + 1 < len(items)


# --- reports whose middle was left out


def _is_cut(items: "list[Item]", position: int) -> bool:
    item = items[position]
    if not isinstance(item, str):
        return False
    following = items[position + 1] if position + 1 < len(items) else ""
    cut_line = item.startswith(" ") and isinstance(following, str) and omitted(following)
    return bool(cut_line or omitted(item))


def _after_cut(items: "list[Item]", position: int) -> int:
    """Return where something complete begins after the line about the omission."""
    position += 1 if omitted(str(items[position])) else 2
    for after in range(position, len(items)):
        if isinstance(items[after], Stack):
            return after
    for after in range(position + 1, len(items)):
        item = items[after]
        if isinstance(item, str) and item[:1] not in _NO_NAME and _split_type(item)[0]:
            return after
    return position


# --- stacks

_MOST_KEPT = 2048
_LONGEST_KEPT = 512  # characters
_MOST_OF_NAME = 4  # lines of a file's name
_kept: "dict[str, StackFrame]" = {}
_names: "set[str]" = set()  # of types


class Stack:
    """Frames that follow one another, the texts that tell of them, and where a SyntaxError is."""

    __slots__ = ("frames", "syntax", "texts")

    def __init__(self, frames: "list[StackFrame]", texts: "list[str]") -> None:
        self.frames = frames
        self.texts = texts
        self.syntax: Location | None = None


def _with_stacks(text: str) -> "list[Item]":
    """The lines of ``text``, and stacks in place of those that tell of frames."""
    first, *rest = ("\n" + text).split("\n" + _FRAME)
    items: list[Item] = list(first.split("\n")[1:])
    # Programs crash in the same places again and again. What is kept is not to be changed.
    known: list[Any] = [*map(_kept.get, rest), None]
    begin = 0
    while begin < len(rest):
        end = known.index(None, begin)
        stack = Stack(known[begin:end], rest[begin:end])
        others = _add_new(stack, rest[end]) if end < len(rest) else []
        if stack.texts:
            items.append(stack)
        items += others
        begin = end + 1
    return items


def _with_whole_name(lines: "list[str]") -> "list[str]":
    """``lines`` with the first, where a file's name has several, in one."""
    for index, line in enumerate(lines[:_MOST_OF_NAME]):
        if '", line ' in line:
            return ["\n".join(lines[: index + 1]), *lines[index + 1 :]]
    return lines


def _add_new(stack: Stack, part: str) -> "list[str]":
    """Add what ``part`` tells of; return its other lines."""
    lines = part.split("\n")
    if '", line ' not in lines[0]:
        lines = _with_whole_name(lines)
    if '", line ' not in lines[0]:  # cut, or something else
        return [_FRAME + lines[0], *lines[1:]]
    end = 1
    while end < len(lines) and lines[end].startswith((_SOURCE, _REPEATED)):
        end += 1
    text = "\n".join(lines[:end])
    stack.texts.append(text)
    frame = _kept.get(text) or _frame(lines[:end])
    if ", in " not in lines[0].partition('", line ')[2]:
        stack.syntax = {
            "file": frame["file"],
            "line": frame["line"],
            "text": frame["source"],
            "columns": frame["columns"],
        }
        return lines[end:]
    if len(text) <= _LONGEST_KEPT:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[text] = frame
    stack.frames.append(frame)
    return lines[end:]


def _frame(lines: "list[str]") -> "StackFrame":
    file, _, rest = lines[0].partition('", line ')
    number, _, function = rest.partition(", in ")
    repeated = 0
    if len(lines) > 1 and lines[-1].startswith(_REPEATED):
        repeated = _number(lines.pop()[len(_REPEATED) :].partition(" ")[0])
    source, columns = _source(lines[1:])
    return {
        "file": file,
        "line": _number(number) if number.isdecimal() else None,
        "function": function,
        "source": source,
        "columns": columns,
        "repeated": repeated,
    }


def _source(lines: "list[str]") -> "tuple[Optional[str], Optional[list[int]]]":
    """Return the source in ``lines``, and the marked columns."""
    sources: list[str] = []
    begin = end = -1
    for line in lines:
        text = line[len(_SOURCE) :]
        if sources and not text.strip(" ^~") and text.strip(" "):
            left = len(text) - len(text.lstrip(" "))
            begin = _index(sources[-1], left) if begin < 0 else begin
            end = _index(sources[-1], len(text.rstrip(" ")))
        else:
            sources.append(text)
    return "\n".join(sources) if sources else None, None if begin < 0 else [begin, end]


def _index(line: str, column: int) -> int:
    """Return the index of the character of ``line`` in a terminal's ``column``."""
    if line.isascii():
        return column
    from unicodedata import east_asian_width

    for index, character in enumerate(line):
        if column <= 0:
            return index
        column -= 1 + (east_asian_width(character) in "WF")
    return len(line) + max(0, column)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]
