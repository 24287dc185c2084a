"""Decode JSON without the 7 ms that importing ``json`` takes.

``json`` itself uses ``_json.make_scanner`` (Lib/json/scanner.py), which needs an object
with a decoder's attributes. On PyPy, which does not have it, ``json`` is loaded.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decoder = Callable[[str], Any]

try:
    from _json import make_scanner
except ImportError:
    from json import loads

    decode: "Decoder" = loads
else:
    _context: "Any" = type(sys.implementation)()  # types.SimpleNamespace
    _context.strict, _context.memo = True, {}
    _context.object_hook = _context.object_pairs_hook = _context.array_hook = None
    _context.parse_float = _context.parse_constant = float
    _context.parse_int = int
    _scan: "Any" = make_scanner(_context)

    def _decode(text: str) -> "Any":
        """Decode one JSON value. Raise ValueError, or RecursionError if it is too deep."""
        text = text.strip("\ufeff \t\n\r")  # an editor may have written a byte order mark
        try:
            value, end = _scan(text, 0)
        except (StopIteration, SystemError):
            # SystemError: 3.10 and 3.11 look up json.decoder's exception, which is not loaded.
            raise ValueError("no JSON") from None
        if end != len(text):
            raise ValueError("more than one value of JSON")
        return value

    decode = _decode
