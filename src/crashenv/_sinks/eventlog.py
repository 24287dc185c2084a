"""``eventlog:``: one event of type Error for each crash, in Windows' Application log.

It calls ReportEventW with the source "crashenv". If that source is not registered, the Event
Viewer says so before the text, but shows the text anyway: registering a source needs an
administrator, and a file of messages.
"""

import os

from crashenv._redact import redact
from crashenv._sinks.outcomes import Later, Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._sinks.address import Address

_SOURCE = "crashenv"
_ERROR = 1  # EVENTLOG_ERROR_TYPE
_EVENT_ID = 1
_LONGEST = 30_000  # UTF-16 units of a string; ReportEventW accepts 31,839
_FIELDS = ("id", "kind", "time", "program", "pid", "python", "where")


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send it. Raise Later or Unusable."""
    if os.name != "nt":
        raise Unusable("there is no Event Log on this system")
    try:
        _report(strings(record))
    except OSError as error:
        raise Later("the Event Log: %s" % (error.strerror or error)) from None
    return 0.0


def _report(texts: "list[str]") -> None:
    """Send it. Raise OSError."""
    import ctypes

    library: Any = vars(ctypes)["WinDLL"]("advapi32", use_last_error=True)
    library.RegisterEventSourceW.restype = ctypes.c_void_p
    log = ctypes.c_void_p(library.RegisterEventSourceW(None, ctypes.c_wchar_p(_SOURCE)))
    if not log:
        raise _last_error(ctypes)
    try:
        array = (ctypes.c_wchar_p * len(texts))(*texts)
        count = ctypes.c_ushort(len(texts))
        if not library.ReportEventW(log, _ERROR, 0, _EVENT_ID, None, count, 0, array, None):
            raise _last_error(ctypes)
    finally:
        library.DeregisterEventSource(log)


def _last_error(ctypes: "Any") -> OSError:
    error: OSError = ctypes.WinError(ctypes.get_last_error())
    return error


def strings(record: "Any") -> "list[str]":
    """Return the strings of the event: the summary, the fields, and the text of the crash."""
    fields = ["%s: %s" % (key, record[key]) for key in _FIELDS if record.get(key) is not None]
    ending = record.get("ending") or {}
    if ending.get("status") is not None:
        fields.append("status: %s" % ending["status"])
    message = (record["summary"], "\r\n".join(fields), record["text"].replace("\n", "\r\n"))
    return [_fitted(redact(text)[0]) for text in message]


def _fitted(text: str) -> str:
    """Replace NUL, which would end the string, and leave out the middle of a long text."""
    data = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-16-le", "replace")
    if len(data) <= 2 * _LONGEST:
        return data.decode("utf-16-le")
    half = _LONGEST // 2 * 2 - 100
    begin, end = data[:half], data[-half:]
    return "%s\r\n...\r\n%s" % tuple(part.decode("utf-16-le", "replace") for part in (begin, end))
