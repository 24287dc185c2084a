"""Send a record by HTTP: one POST, which ends in time whatever the server does.

Certificates are verified against the system's, or ``SSL_CERT_FILE``; ``https_proxy``,
``http_proxy`` and ``no_proxy`` are used; redirections are not followed, because the key
would be sent along.
"""

import contextlib
import functools
import http.client
import signal
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode

from crashenv._sinks.content import agent
from crashenv._sinks.outcomes import Later, Refused, Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from typing import Any

    from crashenv._sinks.address import Address

_SILENCE = 10  # seconds for a connection, and for the next byte
_LONGEST = 30  # seconds in total: a server may send one byte every nine seconds
_MOST_BYTES = 1 << 16  # of an answer
_MOST_WAIT = 86400.0  # seconds that a server may ask us to wait
_WAIT = 60.0  # if it answers 429 without a time, as in Sentry's own clients
_WRONG_PLACE = (401, 402, 403, 404, 405, 407, 410)
_LATER = (408, 423, 425, 429)


class Answer:
    """The answer of a server that accepted it; ``body`` is the beginning of its text."""

    def __init__(self, headers: "Message[str, str]", body: bytes) -> None:
        self.headers = headers
        self.body = body


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: "Any") -> None:
        return None


def url(address: "Address", path: str) -> str:
    scheme = address.scheme.rpartition("+")[2]
    return "%s://%s%s" % (scheme, address.host, path)


def login(address: "Address") -> "dict[str, str]":
    """Return the header for the user and the password in the URL (RFC 7617)."""
    if not address.user and not address.password:
        return {}
    parts = [urllib.parse.unquote_to_bytes(part) for part in (address.user, address.password)]
    return {"Authorization": "Basic " + b64encode(b":".join(parts)).decode()}


def post(place: str, body: bytes, headers: "Mapping[str, str]") -> Answer:
    """Post; raise Later, Refused or Unusable if the server does not accept it."""
    request = urllib.request.Request(place, body, {"User-Agent": agent(), **headers})
    try:
        with _bounded(_LONGEST), _opener().open(request, timeout=_SILENCE) as response:
            return Answer(response.headers, response.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _judged(error)
    except ssl.SSLCertVerificationError as error:
        raise Unusable("its certificate is not valid: %s" % error.verify_message) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            text = "its certificate is not valid: %s" % error.reason.verify_message
            raise Unusable(text) from None
        raise Later("cannot be reached: %s" % _reason(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Later("did not answer: %s" % _reason(error)) from None
    except (ValueError, UnicodeError) as error:  # an invalid host or header
        raise Unusable("has an invalid address: %s" % type(error).__name__) from None


@functools.lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    """Return the opener; it is made once, as reading certificates takes longer than a request."""
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(_NoRedirection, https)


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]


@contextlib.contextmanager
def _bounded(seconds: int) -> "Iterator[None]":
    """Limit the total time, which a socket's timeout does not. Needs ``setitimer``."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError("took more than %d s" % seconds)

    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            left = max(0.001, left - (time.monotonic() - began))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _judged(error: urllib.error.HTTPError) -> Answer:
    """Raise what an error status means, or return the answer if the record was accepted."""
    status = error.code
    try:
        with _bounded(_SILENCE):
            body = error.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        body = b""
    text = "".join(c if c.isprintable() else " " for c in body[:200].decode("utf-8", "replace"))
    message = "HTTP %d %s" % (status, text.strip() or error.reason)
    if status in _WRONG_PLACE or 300 <= status < 400:
        raise Unusable(message) from None
    if status in _LATER or status >= 500 or status < 200:
        seconds = wait(error.headers.get("Retry-After"))
        if status == 429 and seconds is None:
            seconds = _WAIT
        raise Later(message, seconds, is_own_fault=status == 500) from None
    if status == 409 or (status == 400 and b"already exists" in body):
        return Answer(error.headers, body)  # it has the record: an earlier answer was lost
    raise Refused(message) from None


def wait(text: "str | None") -> "float | None":
    """Return the seconds of ``Retry-After`` (RFC 9110, 10.2.3); None without a time."""
    if not text:
        return None
    if text.strip().isdecimal():
        return min(_MOST_WAIT, float(text.strip()[:9]))
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(_MOST_WAIT, max(0.0, seconds))
