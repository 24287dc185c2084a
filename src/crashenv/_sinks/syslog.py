"""``syslog:``: one line for each crash, to the local daemon or over the network.

``/dev/log`` gets the format of the C library's syslog(3), which daemons expect there
(RFC 3164). ``syslog://HOST`` by UDP (RFC 5426) and ``syslog+tcp://HOST`` by TCP, with
the length before each message (RFC 6587, 3.4.1), get that of RFC 5424, with the fields as
structured data. Control characters are written as ``#012`` and so on, like rsyslog does.
"""

import errno
import socket
import time

from crashenv._sinks import content
from crashenv._sinks.outcomes import Later, Unusable
from crashenv._sinks.times import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._sinks.address import Address

_SOCKET = "/dev/log"
_PORT = 514
_PRIORITY = 1 * 8 + 2  # facility user, severity critical
_PATIENCE = 5  # seconds
_LONGEST = 8000  # bytes; rsyslog's own limit is 8 KiB
_LONGEST_DATAGRAM = 2048  # over the network: what receivers should accept (RFC 5424, 6.1)
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"  # whatever the locale
_ENTERPRISE = "crashenv@32473"  # the number for examples (RFC 5612), which needs no registration


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send it. Raise Later or Unusable."""
    try:
        if not address.host and not hasattr(socket, "AF_UNIX"):
            raise Unusable("this system has no such socket; use syslog://HOST")
        if not address.host:
            _send_local(address.path or _SOCKET, local(record))
        elif address.scheme == "syslog+tcp":
            _send_stream(_place(address), remote(record, event_id, _LONGEST))
        else:
            _send_datagram(_place(address), remote(record, event_id, _LONGEST_DATAGRAM))
    except OSError as error:
        raise Later("%s: %s" % (address.shown, error.strerror or error)) from None
    return 0.0


def _place(address: "Address") -> "tuple[str, int]":
    host, colon, port = address.host.rpartition(":")
    if not colon or port.endswith("]"):
        return address.host.strip("[]"), _PORT
    if not port.isdecimal():
        raise Unusable("%s: the port is not a number" % address.shown)
    return host.strip("[]"), int(port)


def _send_local(path: str, line: bytes) -> None:
    """Send a datagram, or a stream if the socket is one, which is rare. Raise OSError."""
    for kind, end in ((socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\0")):
        with socket.socket(socket.AF_UNIX, kind) as log:
            log.settimeout(_PATIENCE)
            try:
                log.connect(path)
            except OSError as error:
                if error.errno == errno.EPROTOTYPE and kind == socket.SOCK_DGRAM:
                    continue
                raise
            log.sendall(line + end)
            return


def _send_stream(place: "tuple[str, int]", line: bytes) -> None:
    """Send; raise OSError also if the daemon closes the connection before it has read all."""
    with socket.create_connection(place, _PATIENCE) as stream:
        stream.sendall(b"%d %s" % (len(line), line))
        stream.shutdown(socket.SHUT_WR)
        try:
            stream.recv(1)
        except socket.timeout:  # it keeps the connection open, and its kernel has the data
            pass


def _send_datagram(place: "tuple[str, int]", line: bytes) -> None:
    family, kind, _, _, target = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as log:
        log.settimeout(_PATIENCE)
        log.sendto(line, target)


def local(record: "Any") -> bytes:
    now = time.localtime()
    when = "%s %2d %02d:%02d:%02d" % (
        _MONTHS[3 * now.tm_mon - 3 : 3 * now.tm_mon],
        now.tm_mday,
        *now[3:6],
    )
    pid = "" if record["pid"] is None else "[%d]" % record["pid"]
    head = "<%d>%s %s%s: " % (_PRIORITY, when, _word(content.program(record), 32), pid)
    return _cut(head + _message(record), _LONGEST)


def remote(record: "Any", event_id: str, most: int) -> bytes:
    when = record["time"] if nanoseconds(record["time"]) else "-"
    pid = "-" if record["pid"] is None else str(record["pid"])
    parts = (
        "<%d>1" % _PRIORITY,
        when,
        _word(content.host(record), 255),
        _word(content.program(record), 48),
        pid,
        "crash",
        _structured(record, event_id),
        _message(record),
    )
    return _cut(" ".join(parts), most)


def _structured(record: "Any", event_id: str) -> str:
    values = {
        "id": record["id"],
        "event": event_id,
        "kind": record["kind"],
        "fingerprint": record["fingerprint"],
        "signal": content.signal_of(record)[0],
        "release": content.release(record),
        "environment": content.environment(record),
        "leftOut": record.get("left_out"),
        "redacted": record.get("redacted"),
    }
    text = ['%s="%s"' % (key, _quoted(str(value))) for key, value in values.items() if value]
    return "[%s %s]" % (_ENTERPRISE, " ".join(text))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return _printable(escaped)[:200]


def _message(record: "Any") -> str:
    """Return summary, place and id, then the text, as far as there is room."""
    where = " (%s)" % record["where"] if record["where"] else ""
    left = "; %d more of its kind" % record["left_out"] if record.get("left_out") else ""
    text = "%s%s; crash %s%s: " % (record["summary"], where, record["id"][:8], left)
    return _printable(text + record["text"].rstrip("\n"))


def _word(text: str, most: int) -> str:
    """Replace all characters that are not visible ASCII, or would end the field."""
    word = "".join(c if "!" <= c <= "~" and c not in '[]:"' else "_" for c in text)
    return word[:most] or "-"


def _printable(text: str) -> str:
    return "".join("#%03o" % ord(c) if c < " " or c == "\x7f" else c for c in text)


def _cut(text: str, most: int) -> bytes:
    data = text.encode("utf-8", "backslashreplace")
    return data if len(data) <= most else data[:most].decode("utf-8", "ignore").encode()
