"""Secrets are removed from what leaves the machine, and nothing else is."""

from __future__ import annotations

import re
import sys
import unittest

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._redact import redact

SECRETS = (
    ("Authorization: Bearer {}", "abcdef0123456789"),
    ("{{'Authorization': 'Basic {}'}}", "dXNlcjpwYXNz"),
    ("postgres://app:{}@db.example/x", "hunter2!"),
    ("password={} and more", "hunter2"),
    ("DB_PASSWORD='{}'", "with blanks in it"),
    ('{{"api_key": "{}"}}', "0123456789"),
    ("mysql --password {} -h db", "hunter2"),
    ("git clone with {}", "ghp_0123456789abcdefghij"),
    ("with {} failed", "AKIAIOSFODNN7EXAMPLE"),
    ("bad token eyJhbGciOiJIUzI1NiJ9.{}", "eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
    ("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", "MIIEow\nIBAAKC"),
)
HARMLESS = (
    'File "/app/token.py", line 3, in password',
    "KeyError: 'secret'",
    "http://127.0.0.1:8000/path?page=2",
    "ValueError: invalid literal for int() with base 10: 'x'",
    "TypeError: f() missing 1 required argument: 'token'",
)


class Redact(unittest.TestCase):
    def test_secrets_go_and_what_stands_around_stays(self) -> None:
        for text, secret in SECRETS:
            with self.subTest(text):
                message, count = redact(text.format(secret))
                self.assertNotIn(secret, message)
                self.assertGreaterEqual(count, 1)
                self.assertEqual(message.split("[redacted]")[0][:5], text.format(secret)[:5])

    def test_other_words_stay(self) -> None:
        for text in HARMLESS:
            self.assertEqual(redact(text), (text, 0))

    def test_more_of_them_and_how_many(self) -> None:
        text = redact("order 12, order 13", [re.compile(r"\d+")])
        self.assertEqual(text, ("order [redacted], order [redacted]", 2))
