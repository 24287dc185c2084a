"""Exit statuses of Windows, and the dumps that match them."""

from __future__ import annotations

import sys
import unittest

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._monitor import ntstatus
from crashenv._sinks import eventlog
from crashenv._sinks.outcomes import Unusable

VIOLATION = b"Windows fatal exception: access violation\n\nCurrent thread 0x1"
OTHER = b"Windows fatal exception: code 0xe06d7363\n\nCurrent thread 0x1"
ABORTED = b"Fatal Python error: Aborted\n\nCurrent thread 0x1"


class Statuses(unittest.TestCase):
    def test_crashes(self) -> None:
        for status in (0xC0000005, 0xC00000FD, 0xC0000409, 0xE06D7363):
            with self.subTest(hex(status)):
                self.assertTrue(ntstatus.is_crash(status))

    def test_others(self) -> None:
        """Ctrl-C, sys.exit() with small, negative and no numbers, os.kill()."""
        for status in (None, 0, 1, 3, 15, 0x40010006, 0x80000003, 0xC000013A, 0xFFFFFFFF):
            with self.subTest(status):
                self.assertFalse(ntstatus.is_crash(status))

    def test_names(self) -> None:
        self.assertEqual(ntstatus.described(0xC0000005), "0xC0000005 (access violation)")
        self.assertEqual(ntstatus.described(0xC0001234), "0xC0001234")

    def test_dump_belongs_to_one_status(self) -> None:
        for dump, status in (
            (VIOLATION, 0xC0000005),
            (OTHER, 0xE06D7363),
            (ABORTED, 3),
            (ABORTED, 0xC0000409),
        ):
            with self.subTest(dump):
                self.assertTrue(ntstatus.belongs(dump, status))
                for another in (None, 0, 1, 0xC00000FD):
                    self.assertFalse(ntstatus.belongs(dump, another))

    def test_stacks_of_a_signal_belong_to_none(self) -> None:
        self.assertFalse(ntstatus.belongs(b"Current thread 0x1", 3))
        self.assertFalse(b"Current thread 0x1".startswith(ntstatus.DUMPS))


class EventLog(unittest.TestCase):
    RECORD = {"summary": "ValueError: x", "text": "Trace\nback\n", "id": "1", "kind": "exception"}

    def test_strings(self) -> None:
        texts = eventlog.strings({**self.RECORD, "ending": {"status": 1}})
        told = ["ValueError: x", "id: 1\r\nkind: exception\r\nstatus: 1", "Trace\r\nback\r\n"]
        self.assertEqual(texts, told)

    def test_bounds(self) -> None:
        """ReportEventW counts UTF-16 units, and a NUL ends a string."""
        text = "\0" + "\N{PILE OF POO}" * 50_000 + "end"
        (_, _, fitted) = eventlog.strings({**self.RECORD, "text": text})
        self.assertLess(len(fitted.encode("utf-16-le", "surrogatepass")), 2 * 31_839)
        self.assertNotIn("\0", fitted)
        self.assertTrue(fitted.endswith("end"))

    def test_elsewhere(self) -> None:
        with self.assertRaises(Unusable):
            eventlog.send(None, self.RECORD, "")  # type: ignore[arg-type]
