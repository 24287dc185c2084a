"""A thousand crashes, and a receiver that fails half of the time."""

from __future__ import annotations

import collections
import random
import unittest

from tests.sinks_receivers import Request
from tests.test_sinks import SinkTest


class Thousand(SinkTest):
    def test_each_arrives_exactly_once(self) -> None:
        """It fails before it has kept it, in each way that leaves no doubt of that."""
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
        for _ in range(3):  # of which one may end while the receiver fails for long
            result = self.crashenv("send", "--sink-limit=0", "--sink", self.hook(one))
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(self.got_ids(one), ids)
        self.assertEqual(set(collections.Counter(ids).values()), {1})
        self.assertGreater(one.count, 1800)


if __name__ == "__main__":
    unittest.main()
