"""``--sink URL``: parse the URL, and name the receiver without its secrets.

urllib.parse is not used: a monitor parses its sinks at the start, and the import would take
a third of that time.
"""

import os

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_WEB = ("sentry+https", "sentry+http", "otlp+https", "otlp+http", "https", "http")
_LOCAL = ("journald", "syslog", "eventlog")  # followed by a path, or nothing
_EXAMPLES = "sentry+https://KEY@HOST/PROJECT, otlp+http://HOST:4318, https://HOST/PATH, journald:"
_MOST_BYTES = 1 << 16  # of a file of sinks


class Address:
    """The parts of a sink's URL. Raises ValueError, whose message has no secret.

    ``user`` and ``password`` are as in the URL, perhaps percent-encoded.
    ``host`` includes the port; ``path`` begins with ``/``, or is empty, and includes the query.
    ``shown`` is printed, ``key`` names a file; neither has a secret.
    """

    def __init__(self, url: str, environment: "Mapping[str, str]" = os.environ) -> None:
        self.url = url = _of_environment(url, environment)
        self.scheme, colon, rest = url.partition(":")
        if not colon or self.scheme not in (*_WEB, *_LOCAL, "syslog+tcp"):
            raise ValueError("there is no such sink; the kinds are %s and syslog:" % _EXAMPLES)
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("%s: has characters that are invalid in a URL" % self.scheme)
        self.user = self.password = self.host = ""
        self.path = rest
        if rest.startswith("//"):
            place, slash, path = rest[2:].partition("/")
            login, _, self.host = place.rpartition("@")
            self.user, _, self.password = login.partition(":")
            self.path = (slash + path).partition("#")[0]
        self.shown = self._shown()
        self._check()
        text = "%s://%s%s" % (self.scheme, self.host, self.path)
        self.key = blake2b(text.encode(), digest_size=8).hexdigest()
        if self.scheme in ("http", "https") and self.path not in ("", "/"):
            self.shown += "/..." + self.key[:4]  # the path of a webhook may be the secret

    def _shown(self) -> str:
        if not self.host:
            return "%s:%s" % (self.scheme, self.path)
        shown = "%s://%s" % (self.scheme, self.host)
        return shown + self.path if self.scheme.startswith("sentry+") else shown

    def _check(self) -> None:
        if not self.host and self.scheme not in _LOCAL:
            raise ValueError("%s: names no host" % self.scheme)
        if self.scheme in _LOCAL and not self.host and self.path and not self.path.startswith("/"):
            raise ValueError("%s: a socket's path begins with /" % self.scheme)
        if self.scheme in ("journald", "eventlog") and self.host:
            raise ValueError("%s: has no host" % self.scheme)
        if self.scheme.startswith("sentry+"):
            if not self.user:
                raise ValueError("%s: has no KEY before the @" % self.shown)
            if not self.path.rpartition("/")[2].isdigit():
                raise ValueError("%s: does not end with the project's number" % self.shown)


def _of_environment(url: str, environment: "Mapping[str, str]") -> str:
    """Expand ``sentry:`` and ``otlp:`` by the variables of Sentry and OpenTelemetry."""
    if url in ("sentry:", "sentry"):
        if not environment.get("SENTRY_DSN"):
            raise ValueError("sentry: SENTRY_DSN is not set")
        return "sentry+" + environment["SENTRY_DSN"]
    if url in ("otlp:", "otlp"):
        whole = environment.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "")
        base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        if not whole and not base:
            raise ValueError("otlp: OTEL_EXPORTER_OTLP_ENDPOINT is not set")
        return "otlp+" + (whole or base)
    if url in _LOCAL:
        return url + ":"
    return url


def read(text: str, environment: "Mapping[str, str]" = os.environ) -> "list[Address]":
    """Return the sinks in ``text``, separated by white space; ``@PATH`` is a file of sinks.

    Lines of such a file that begin with ``#`` are ignored. Raise ValueError, OSError.
    """
    found = []
    for word in text.split():
        if word.startswith("@"):
            with open(word[1:], "rb") as file:
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").split("\n")
            lines = [line for line in lines if not line.strip().startswith("#")]
            found += [Address(url, environment) for url in " ".join(lines).split()]
        else:
            found.append(Address(word, environment))
    return found


def distinct(addresses: "list[Address]") -> "list[Address]":
    """Return each sink once: the option and the variable may name the same."""
    return list({address.key: address for address in reversed(addresses)}.values())[::-1]
