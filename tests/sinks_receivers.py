"""Receivers from the standard library, on loopback, that keep what they are sent."""

from __future__ import annotations

import contextlib
import http.server
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Behaviour = Callable[["Request"], None]


class Request(http.server.BaseHTTPRequestHandler):
    """A request; a behaviour answers it with ``answer``, ``cut`` or in another way."""

    server: _Server
    body: bytes

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        with self.server.lock:
            self.server.count += 1
        self.server.behaviour(self)

    def do_CONNECT(self) -> None:
        self.server.connects.append(self.path)
        self.send_error(502)

    def keep(self) -> None:
        with self.server.lock:
            self.server.kept.append((self.path, dict(self.headers), self.body))

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Close the connection, without an answer."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


def accept(request: Request) -> None:
    request.keep()
    request.answer(200)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # The most connections that a test opens at once.
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.count = 0
        self.kept: list[tuple[str, dict[str, str], bytes]] = []
        self.connects: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Ignore the error of a client that was killed."""


class Receiver:
    """An HTTP server; ``kept`` is each request's path, headers and body."""

    def __init__(self, behaviour: Behaviour = accept, tls: Any = None) -> None:
        self._server = _Server(behaviour)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def behave(self, behaviour: Behaviour) -> None:
        self._server.behaviour = behaviour

    @property
    def kept(self) -> list[tuple[str, dict[str, str], bytes]]:
        return self._server.kept

    @property
    def count(self) -> int:
        """Return the number of requests, including refused ones."""
        return self._server.count

    @property
    def connects(self) -> list[str]:
        return self._server.connects

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Datagrams:
    """A Unix socket in ``folder``, like those of journald and syslog; it receives files too."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(10)

    def next(self) -> tuple[bytes, list[int]]:
        data, files, _, _ = socket.recv_fds(self._socket, 1 << 20, 4)
        return data, files

    def is_empty(self) -> bool:
        return not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()


def journal_fields(data: bytes) -> dict[str, str]:
    """Parse the fields (https://systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found = {}
    while data:
        line, newline, rest = data.partition(b"\n")
        assert newline, data
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n", rest
        assert name.isascii() and len(name) <= 64 and name == name.upper(), name
        assert not name.startswith(b"_") and not name[:1].isdigit(), name
        found[name.decode()] = value.decode()
        data = rest
    return found


def whole_file(fd: int) -> bytes:
    """Return the content of a memfd, and close it."""
    with open(fd, "rb") as file:
        os.lseek(fd, 0, os.SEEK_SET)
        return file.read()


@contextlib.contextmanager
def receiver(behaviour: Behaviour = accept, tls: Any = None) -> Iterator[Receiver]:
    one = Receiver(behaviour, tls)
    try:
        yield one
    finally:
        one.close()
