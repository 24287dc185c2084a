"""The output of every interpreter is read as in the corpus (see make_corpus.py)."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading.build import record
from crashenv._reading.encode import to_json
from crashenv._reading.frames import Frame, Splitter
from tests.make_corpus import CASES, CORPUS, LEFT_OUT, SINCE_3_11

VERSIONS = {"3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "pypy3.9"}


def split(stream: bytes, size: int) -> list[Frame]:
    """Return the frames of ``stream``, fed in pieces of ``size``."""
    splitter = Splitter()
    frames = []
    for start in range(0, len(stream), size):
        frames += splitter.feed(stream[start : start + size])
    frames += splitter.close()
    assert not splitter.skipped
    return frames


class Corpus(unittest.TestCase):
    def test_every_version_and_every_case_is_there(self) -> None:
        self.assertEqual({folder.name for folder in CORPUS.iterdir()}, VERSIONS)
        for version in VERSIONS - {"pypy3.9"}:
            has_groups = version not in ("3.9", "3.10")
            cases = {*CASES, *(SINCE_3_11 if has_groups else ())}
            self.assertEqual({path.stem for path in (CORPUS / version).glob("*.txt")}, cases)
        self.assertGreater(len(list((CORPUS / "pypy3.9").glob("*.txt"))), 30)

    def test_records_are_the_expected_ones(self) -> None:
        for path in sorted(CORPUS.glob("*/*.txt")):
            with self.subTest(self.name(path)):
                self.assertEqual(
                    self.records(path), json.loads(path.with_suffix(".json").read_text())
                )

    def test_text_is_what_was_written(self) -> None:
        for path in sorted(CORPUS.glob("*/*.txt")):
            stream = path.read_bytes()
            frames = split(stream, len(stream))
            with self.subTest(self.name(path)):
                self.assertEqual(b"".join(frame.raw for frame in frames), stream)
                for frame in frames:
                    self.assertEqual(record(frame)["text"].encode(), frame.body)
                    self.assertEqual(json.loads(to_json(record(frame))), record(frame))

    def test_pieces_make_no_difference(self) -> None:
        for path in sorted(CORPUS.glob("3.1[25]/*.txt")):
            stream = path.read_bytes() * 2
            whole = [frame.raw for frame in split(stream, len(stream))]
            for size in (1, 7, 100):
                with self.subTest(self.name(path), size=size):
                    self.assertEqual([frame.raw for frame in split(stream, size)], whole)

    def name(self, path: Path) -> str:
        return str(path.relative_to(CORPUS))

    def records(self, path: Path) -> list[dict[str, object]]:
        stream = path.read_bytes()
        found = [record(frame) for frame in split(stream, len(stream))]
        return [{k: v for k, v in one.items() if k not in LEFT_OUT} for one in found]
