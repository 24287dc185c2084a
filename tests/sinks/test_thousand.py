"""A thousand crashes, and a receiver that fails half of the time."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys
import unittest

from tests.sinks_receivers import Request
from tests.test_sinks import SinkTest


class Thousand(SinkTest):
    def test_each_arrives_exactly_once(self) -> None:
        """It fails before it has kept the record, in all ways that leave no doubt."""
        chance = random.Random(1000)

        def fails(request: Request) -> None:
            fate = chance.choice(("ok", "ok", "ok", "500", "503", "cut"))
            if fate == "ok":
                request.keep()
                request.answer(200)
            elif fate == "cut":
                request.cut()
            else:
                request.answer(int(fate))

        one = self.receiver(fails)
        ids = self.fill(1000, kinds=10)
        signal.alarm(0)  # the driver's, for tests that take less
        command = [sys.executable, "-m", "crashenv", "send", "--sink-limit=0"]
        command += ["--sink", self.hook(one)]
        done = subprocess.run(command, env=self.env, capture_output=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.got_ids(one), ids)
        self.assertEqual(set(collections.Counter(ids).values()), {1})
        self.assertGreater(one.count, 1800)


if __name__ == "__main__":
    unittest.main()
