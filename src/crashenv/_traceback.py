"""The text that ``traceback`` prints -> what it tells, for CPython 3.9 to 3.15 and PyPy.

Never fails: of a text that is damaged or no traceback at all it tells what it
finds. One look at each line, and no recursion but into groups, which is bounded.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union

    from crashenv._schema import Exception_, Location, StackFrame

    # A line, or the sub-exceptions of the group that was before it.
    Item = Union[str, list["list[Item]"]]

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
_FRAME = '  File "'
_SOURCE = "    "
_REPEATED = "  [Previous line repeated "
_OMISSION = ("[crashenv: ", " bytes left out]")
_RULE = "+------------------------------------"
_IN_NAME = str.maketrans("", "", ".<>")


def parse(lines: "list[str]") -> "Optional[Exception_]":
    """The exception that ``lines`` show, which is the last one of its chain."""
    items: list[Item] = _with_groups(lines) if _GROUP_AT_TOP in lines else list(lines)
    return _chain(items, _begin(lines), 0)


def is_start(line: str) -> bool:
    """Whether a traceback begins with ``line``."""
    return line in _HEADERS or line == _GROUP_AT_TOP


def omitted(line: str) -> int:
    """How many bytes the writer left out, if ``line`` says so; else 0."""
    begin, end = _OMISSION
    if line.startswith(begin) and line.endswith(end):
        count = line[len(begin) : -len(end)]
        if count.isdecimal() and len(count) < 20:
            return int(count)
    return 0


def _begin(lines: "list[str]") -> int:
    """Past "Exception in thread ...:" and the like, whatever lines the thread's name has."""
    for index, line in enumerate(lines):
        if is_start(line) or line.startswith(_FRAME):
            return index
    return 0 if lines and _split_type(lines[0])[0] else 1


# --- groups: an item that is a list holds the sub-exceptions


def _with_groups(lines: "list[str]") -> "list[Item]":
    """Take the margins of exception groups away."""
    root: list[Item] = []
    regions = [root]
    in_group = False
    for line in lines:
        if line == _GROUP_AT_TOP or line == _HEADER or line in _LINKS:
            del regions[1:]
            in_group = line == _GROUP_AT_TOP
            root.append(_GROUP_HEADER if in_group else line)
            continue
        column = 2 * len(regions)
        if not in_group or line[:column].strip(" "):
            regions[-1].append(line)  # 3.11 prints some lines in groups without a margin
            continue
        mark, content = line[column : column + 2], line[column + 2 :]
        if mark in ("| ", "|"):
            regions[-1].append(content)
        elif mark == "+-" and content.startswith("+-"):
            first: list[Item] = []
            regions[-1].append([first])
            regions.append(first)
        elif line[column:] == _RULE and len(regions) > 1:
            regions.pop()
            in_group = len(regions) > 1
        elif mark == "+-" and len(regions) > 1:
            sibling: list[Item] = []
            siblings = regions[-2][-1]
            assert isinstance(siblings, list)
            siblings.append(sibling)
            regions[-1] = sibling
        else:
            regions[-1].append(line)
    return root


def _sub_exceptions(exception: "Exception_", children: "list[list[Item]]", depth: int) -> None:
    for items in children:
        first = items[0] if items else ""
        if isinstance(first, str) and first.startswith("and ") and first.endswith(" exceptions"):
            exception["omitted"] += _number(first.split(" ")[1])
        elif isinstance(first, str) and first.startswith("... (max_group_depth is "):
            exception["omitted"] += 1
        elif depth == DEEPEST_GROUP:
            exception["omitted"] += 1
        else:
            child = _chain(items, 0, depth + 1)
            if child is not None:
                exception["exceptions"].append(child)


# --- chains


def _chain(items: "list[Item]", start: int, depth: int) -> "Optional[Exception_]":
    """The last exception of a chain, and by way of it the others."""
    bounds, links = [start], []
    for index in range(start + 2, len(items) - 2):
        item = items[index]
        if isinstance(item, str) and item in _LINKS and _is_link(items, index):
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
    after = items[index + 2]
    if items[index - 1] != "" or items[index + 1] != "" or not isinstance(after, str):
        return False
    return after in _HEADERS or after.startswith(_FRAME) or bool(_split_type(after)[0])


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
    message: list[str] = []
    for item in items[position:]:
        if isinstance(item, str):
            message.append(item)
        else:
            _sub_exceptions(exception, item, depth)
    while len(message) > 1 and not message[-1]:
        message.pop()
    if message:
        exception["type"], message[0] = _split_type(message[0])
        last = _last_of_message(exception["type"], message)
        exception["message"] = "\n".join(message[:last])
        exception["notes"] = message[last:]
    return exception if message or exception["frames"] else None


def _last_of_message(name: "str | None", message: "list[str]") -> int:
    """Where notes begin, where that is sure: they are printed as a message's other lines are."""
    if name == "KeyError":  # shows its argument's repr()
        return 1
    for index, line in enumerate(message):
        if line.endswith((" sub-exception)", " sub-exceptions)")):
            return index + 1
    return len(message)


def _split_type(line: str) -> "tuple[Optional[str], str]":
    """``module.Name: message`` -> the name and the message; no name if it cannot be one."""
    name, _, message = line.partition(": ")
    if not _ and name.endswith(":"):
        name = name[:-1]
    if name.translate(_IN_NAME).isidentifier():
        return name, message
    return None, line


def _frames(items: "list[Item]", position: int, exception: "Exception_") -> int:
    """Read the frames at ``position``; return where the message begins."""
    frames = exception["frames"]
    while position < len(items):
        item = items[position]
        if not isinstance(item, str):
            break
        if item.startswith(_FRAME):
            position += 1
            source, columns, position = _source(items, position)
            file, line, function = _location(item)
            if function is None:
                exception["syntax"] = _syntax(file, line, source, columns)
            else:
                frames.append(_frame(file, line, function, source, columns))
        elif item.startswith(_REPEATED):
            if frames:
                frames[-1]["repeated"] = _number(item[len(_REPEATED) :].partition(" ")[0])
            position += 1
        elif _is_cut(items, position):
            position = _after_cut(items, position)
        else:
            break
    return position


def _frame(
    file: str,
    line: "Optional[int]",
    function: str,
    source: "Optional[str]" = None,
    columns: "Optional[list[int]]" = None,
) -> "StackFrame":
    return {
        "file": file,
        "line": line,
        "function": function,
        "source": source,
        "columns": columns,
        "repeated": 0,
    }


def _location(item: str) -> "tuple[str, Optional[int], Optional[str]]":
    """``  File "FILE", line LINE, in FUNCTION`` -> its parts; a SyntaxError names no function."""
    end = item.find('", line ', len(_FRAME))
    if end < 0:
        return item[len(_FRAME) :].rstrip('"'), None, None
    number, comma, function = item[end + 8 :].partition(", in ")
    line = int(number) if number.isdecimal() and len(number) < 10 else None
    return item[len(_FRAME) : end], line, function if comma else None


def _syntax(
    file: str, line: "Optional[int]", text: "Optional[str]", columns: "Optional[list[int]]"
) -> "Location":
    return {"file": file, "line": line, "text": text, "columns": columns}


def _source(
    items: "list[Item]", position: int
) -> "tuple[Optional[str], Optional[list[int]], int]":
    """The source lines at ``position`` and what is marked in them."""
    lines: list[str] = []
    begin = end = -1
    while position < len(items):
        item = items[position]
        if not isinstance(item, str) or not item.startswith(_SOURCE):
            break
        text = item[len(_SOURCE) :]
        if lines and not text.strip(" ^~") and text.strip(" "):
            left = len(text) - len(text.lstrip(" "))
            begin = _index(lines[-1], left) if begin < 0 else begin
            end = _index(lines[-1], len(text.rstrip(" ")))
        else:
            lines.append(text)
        position += 1
    source = "\n".join(lines) if lines else None
    return source, None if begin < 0 else [begin, end], position


def _index(line: str, column: int) -> int:
    """Which character of ``line`` stands in a terminal's ``column``."""
    if line.isascii():
        return column
    from unicodedata import east_asian_width

    for index, character in enumerate(line):
        if column <= 0:
            return index
        column -= 1 + (east_asian_width(character) in "WF")
    return len(line) + column


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


# --- reports whose middle was left out


def _is_cut(items: "list[Item]", position: int) -> bool:
    item = items[position]
    following = items[position + 1] if position + 1 < len(items) else ""
    if isinstance(item, str) and omitted(item):
        return True
    is_rest = isinstance(item, str) and item.startswith(" ")
    return is_rest and isinstance(following, str) and omitted(following) > 0


def _after_cut(items: "list[Item]", position: int) -> int:
    """Where something begins that is whole, behind the line that tells of the omission."""
    position += 1 if omitted(str(items[position])) else 2
    for after in range(position, len(items)):
        item = items[after]
        if isinstance(item, str) and item.startswith(_FRAME):
            return after
    for after in range(position + 1, len(items)):
        item = items[after]
        if isinstance(item, str) and _split_type(item)[0]:
            return after
    return position
