"""Encode a record as JSON (RFC 8259), without the 15 ms that importing ``json`` takes.

The text has ASCII characters only, and no newline.
"""

from crashenv._reading.tracebacks import Place

try:
    from _json import encode_basestring_ascii as _quote
except ImportError:  # PyPy
    from json.encoder import encode_basestring_ascii as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_WORDS = {None: "null", True: "true", False: "false"}
_MOST_KEPT = 1000
_kept_keys: "dict[str, str]" = {}


def to_json(value: "Any") -> str:
    """For None, bool, int, str, list, tuple and dict with str keys; float as repr() shows it."""
    kind = type(value)
    if kind is str:
        return _quote(value)
    if value is None or kind is bool:
        return _WORDS[value]
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, (list, tuple)):
        return _array(value)
    return repr(value)


def _array(items: "Sequence[Any]") -> str:
    if not items:
        return "[]"
    if type(items[0]) is Place:
        # Programs crash in the same places again and again.
        return "[" + ",".join([place.json or _place(place) for place in items]) + "]"
    return "[" + ",".join([to_json(item) for item in items]) + "]"


def _place(place: Place) -> str:
    place.json = _object(place)
    return place.json


def _object(value: "dict[str, Any]") -> str:
    pairs = []
    for key, item in value.items():
        kind = type(item)
        begin = _kept_keys.get(key) or _key(key)
        if kind is str:
            pairs.append(begin + _quote(item))
        elif item is None:
            pairs.append(begin + "null")
        elif kind is list:
            pairs.append(begin + _array(item))
        else:
            pairs.append(begin + to_json(item))
    return "{" + ",".join(pairs) + "}"


def _key(key: str) -> str:
    begin = _quote(key) + ":"
    if len(_kept_keys) < _MOST_KEPT:
        _kept_keys[key] = begin
    return begin
