"""Encode a record as JSON (RFC 8259), without the 15 ms that importing ``json`` takes.

The text has ASCII characters only, and no newline.
"""

try:
    from _json import encode_basestring_ascii as _quote
except ImportError:  # PyPy
    from json.encoder import encode_basestring_ascii as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_MOST_KEPT = 2048
_LONGEST_KEPT = 1024  # characters
_shapes: "dict[tuple[str, ...], str]" = {}
# Programs crash in the same places repeatedly. A frame that is kept keeps its id().
_kept: "dict[int, Any]" = {}
_texts: "dict[int, str]" = {}


def to_json(value: "Any") -> str:
    """Encode None, bool, int, str, list, tuple and dict with str keys; float as its repr()."""
    return _WRITERS[type(value)](value)


def _object(value: "dict[str, Any]") -> str:
    keys = tuple(value)
    shape = _shapes.get(keys) or _shape(keys)
    return shape % tuple([_WRITERS[type(item)](item) for item in value.values()])


def _shape(keys: "tuple[str, ...]") -> str:
    pairs = [_quote(key).replace("%", "%%") + ":%s" for key in keys]
    shape = "{" + ",".join(pairs) + "}"
    if len(_shapes) < _MOST_KEPT:
        _shapes[keys] = shape
    return shape


def _array(items: "Sequence[Any]") -> str:
    if not items:
        return "[]"
    if type(items[0]) is dict and "function" in items[0]:
        return _frames(items)
    return "[%s]" % ",".join([_WRITERS[type(item)](item) for item in items])


def _frames(frames: "Sequence[Any]") -> str:
    try:
        return "[%s]" % ",".join(map(_texts.__getitem__, map(id, frames)))
    except KeyError:
        return "[%s]" % ",".join([_texts.get(id(frame)) or _frame(frame) for frame in frames])


def _frame(frame: "Any") -> str:
    text = to_json(frame)
    if len(text) <= _LONGEST_KEPT:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
            _texts.clear()
        _kept[id(frame)], _texts[id(frame)] = frame, text
    return text


_WRITERS: "dict[type, Callable[[Any], str]]" = {
    str: _quote,
    type(None): {None: "null"}.__getitem__,
    bool: {True: "true", False: "false"}.__getitem__,
    int: repr,
    float: repr,
    dict: _object,
    list: _array,
    tuple: _array,
}
