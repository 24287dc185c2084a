"""A record -> JSON (RFC 8259), without the 15 ms that importing ``json`` takes.

The text has ASCII characters only, and no newline.
"""

from crashenv._reading.tracebacks import Place

try:
    from _json import encode_basestring_ascii as _quote
except ImportError:  # PyPy
    from json.encoder import encode_basestring_ascii as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORDS = {None: "null", True: "true", False: "false"}
_MOST_KEPT = 1000
_kept_keys: "dict[str, str]" = {}


def to_json(value: "Any") -> str:
    """For None, bool, int, str, list, tuple and dict with str keys; float as repr() shows it."""
    kind = type(value)
    if kind is str:
        return _quote(value)
    if kind is Place:
        # Programs crash in the same places again and again.
        value.json = value.json or _object(value)
        text: str = value.json
        return text
    if value is None or kind is bool:
        return _WORDS[value]
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([to_json(item) for item in value]) + "]" if value else "[]"
    return repr(value)


def _object(value: "dict[str, Any]") -> str:
    pairs = []
    for key, item in value.items():
        begin = _kept_keys.get(key) or _key(key)
        pairs.append(begin + (_quote(item) if type(item) is str else to_json(item)))
    return "{" + ",".join(pairs) + "}"


def _key(key: str) -> str:
    begin = _quote(key) + ":"
    if len(_kept_keys) < _MOST_KEPT:
        _kept_keys[key] = begin
    return begin
