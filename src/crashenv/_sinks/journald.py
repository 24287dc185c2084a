"""``journald:``: an entry in systemd's journal, with fields that can be searched.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram or, if that is too large, a
sealed memfd. The fields are those of systemd.journal-fields(7) and, as for core dumps,
of systemd-coredump(8); ``journalctl MESSAGE_ID=...`` finds all crashes.
"""

import array
import errno
import os
import socket
import struct

from crashenv._sinks import content
from crashenv._sinks.outcomes import Later, Refused, Unusable
from crashenv._sinks.times import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._sinks.address import Address

MESSAGE_ID = "b3d07eecdc6a4eab8f336064b71fd963"
_SOCKET = "/run/systemd/journal/socket"
_CRITICAL = "2"
_PATIENCE = 5  # seconds
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_LARGEST_FIELD = 700_000  # bytes; journald accepts 768 MiB, journalctl shows less as text
_ADD_SEALS = 1033  # F_ADD_SEALS (fcntl(2)), which older versions of fcntl do not define
_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
_ALLOW_SEALING = 2  # MFD_ALLOW_SEALING (memfd_create(2))
_CLOEXEC = 1


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send it. Raise Later, Refused or Unusable."""
    if not hasattr(socket, "AF_UNIX"):
        raise Unusable("this system has no such sockets")
    data = entry(fields(record, event_id))
    path = address.path or _SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.settimeout(_PATIENCE)
            journal.connect(path)
            try:
                journal.send(data)
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                _send_file(journal, data)
    except OSError as error:
        raise Later("%s: %s" % (path, error.strerror or error)) from None
    return 0.0


def _send_file(journal: socket.socket, data: bytes) -> None:
    """Send a file, which must not change any more: journald maps it. Raise OSError."""
    import fcntl

    try:
        fd = os.memfd_create("crash", _CLOEXEC | _ALLOW_SEALING)
    except AttributeError:
        raise Refused("is too large for a datagram, and there is no memfd_create") from None
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        journal.sendmsg([], [rights])
    finally:
        os.close(fd)


def entry(fields: "dict[str, str]") -> bytes:
    """Return the entry: a field as text if it has no newline, else after its length."""
    found = b""
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")[:_LARGEST_FIELD]
        if b"\n" in data:
            found += b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
        else:
            found += b"%s=%s\n" % (name.encode(), data)
    return found


def fields(record: "Any", event_id: str) -> "dict[str, str]":
    kind, message = content.type_and_value(record)
    name, number = content.signal_of(record)
    place = content.place(record) or {}
    where = " (%s)" % record["where"] if record["where"] else ""
    program = content.program(record)
    found = {
        "MESSAGE": "%s: %s%s" % (program or "python", record["summary"], where),
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": _CRITICAL,
        "SYSLOG_IDENTIFIER": program,
        "CODE_FILE": place.get("file"),
        "CODE_LINE": place.get("line"),
        "CODE_FUNC": place.get("function"),
        "TID": record["tid"],
        "THREAD_NAME": record["thread"],
        "EXCEPTION_TYPE": kind,
        "EXCEPTION_MESSAGE": message,
        "EXCEPTION_TEXT": record["text"],
        "COREDUMP_PID": record["pid"],
        "COREDUMP_COMM": program,
        "COREDUMP_CMDLINE": " ".join(record.get("command") or []),
        "COREDUMP_HOSTNAME": content.host(record),
        "COREDUMP_TIMESTAMP": nanoseconds(record["time"]) // 1000 or None,
        "COREDUMP_SIGNAL": number or None,
        "COREDUMP_SIGNAL_NAME": name,
        "CRASHENV_EVENT_ID": event_id,
        "CRASHENV_ID": record["id"],
        "CRASHENV_KIND": record["kind"],
        "CRASHENV_FINGERPRINT": record["fingerprint"],
        "CRASHENV_PYTHON": record["python"],
        "CRASHENV_WORKER": record.get("process"),
        "CRASHENV_RELEASE": content.release(record),
        "CRASHENV_ENVIRONMENT": content.environment(record),
        "CRASHENV_STDERR": record.get("stderr"),
        "CRASHENV_LAST_WORDS": record.get("last_words"),
        "CRASHENV_LEFT_OUT": record.get("left_out"),
        "CRASHENV_REDACTED": record.get("redacted"),
    }
    for key, value in (record.get("tags") or {}).items():
        found["CRASHENV_TAG_" + _field_name(key)] = value
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def _field_name(text: str) -> str:
    """Return capitals, digits and ``_``, 64 with the prefix (sd_journal_print(3))."""
    upper = text.upper()
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in upper)[:50]
