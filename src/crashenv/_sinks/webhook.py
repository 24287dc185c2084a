"""``https://HOST/PATH``: the record as JSON, in one POST.

The headers are those of Standard Webhooks 1.0: ``webhook-id``, which identifies
duplicates, ``webhook-timestamp``, and ``webhook-signature`` if there is a secret.
"""

import base64
import binascii
import hmac
import os
import time

from crashenv._reading.encode import to_json
from crashenv._sinks import web
from crashenv._sinks.outcomes import Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from crashenv._sinks.address import Address

SECRET = "CRASHENV_SINK_SECRET"
SECRET_FILE = "CRASHENV_SINK_SECRET_FILE"
_PREFIX = "whsec_"  # before the base64 text of a secret
_MOST_BYTES = 4096


def send(address: "Address", record: "Any", event_id: str) -> float:
    """Send it. Raise Later, Refused or Unusable."""
    body = to_json(record).encode()
    now = "%d" % time.time()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": now,
        **web.login(address),
    }
    secret = _secret(os.environ)
    if secret:
        headers["webhook-signature"] = signature(secret, event_id, now, body)
    web.post(web.url(address, address.path or "/"), body, headers)
    return 0.0


def signature(secret: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    signed = ("%s.%s." % (event_id, timestamp)).encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def _secret(environment: "Mapping[str, str]") -> bytes:
    """Return the secret from the variable, or from the file that the other variable names."""
    text = environment.get(SECRET, "")
    if not text and environment.get(SECRET_FILE):
        try:
            with open(environment[SECRET_FILE], "rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
        except OSError as error:
            raise Unusable("%s: %s" % (SECRET_FILE, error.strerror)) from None
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text[len(_PREFIX) :], validate=True)
    except binascii.Error:
        raise Unusable("%s: is not base64 after %s" % (SECRET, _PREFIX)) from None
