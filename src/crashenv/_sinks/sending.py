"""All records that wait for one sink, sent in order, until none waits or it is no use now.

One process at a time sends to a sink; it holds the lock of its marks. A record is marked
when the receiver has said that it has it. Whoever ends in between sends that one again,
with the same event id, by which receivers know what they have.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from crashenv._reading import crashes
from crashenv._redact import REDACTED, redact
from crashenv._sinks import content, times
from crashenv._sinks.limit import Limit
from crashenv._sinks.marks import Marks
from crashenv._sinks.outcomes import Later, Refused, Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from crashenv._sinks.address import Address

# Seconds before the second try, at most; twice that before each next one.
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 60.0
# So often a receiver may fail over one record before the others go first.
_MOST_TRIES = 20
_WRONG = (AttributeError, IndexError, KeyError, TypeError)


class Item:
    """A record that waits. ``load`` returns it, None if it is gone."""

    def __init__(self, name: str, kept: float, load: "Callable[[], Any]") -> None:
        self.name = name
        self.kept = kept  # seconds since 1970
        self.load = load


class Tally:
    """What became of the records; ``problem`` is why some still wait."""

    def __init__(self) -> None:
        self.sent = self.refused = self.left = self.held = self.waiting = self.redacted = 0
        self.refusal = ""
        self.problem = ""
        self.is_known = False  # the problem was there before


class Sending:
    """To ``address``, what ``redaction`` leaves, ``most`` of a kind in an hour.

    ``patience`` is how many seconds a receiver may go on failing.
    """

    def __init__(
        self,
        address: "Address",
        marks: Marks,
        patterns: "Sequence[re.Pattern[str]]",
        most: int,
        patience: float,
    ) -> None:
        self.tally = Tally()
        self._address = address
        self._marks = marks
        self._redaction = content.Redaction(patterns)
        self._most = most
        self._patience = patience
        self._held: dict[str, Item] = {}
        self._limit = Limit(most)
        self._until = 0.0  # monotonic

    def store(self, folder: str, everything: bool, tell: "Callable[[int, int], None]") -> None:
        """Send what waits in ``folder``. Raises OSError if that, or a mark, cannot be.

        ``tell`` is called with how many are done, of how many.
        """
        os.listdir(folder)  # not to make one where there is none
        if not self._marks.lock(self._patience):
            self.tally.problem, self.tally.is_known = "another process sends to it", True
            self.tally.waiting = len(self._marks.load().waiting(everything))
            return
        try:
            self._marks.load().begin(now=False)
            seen: set[str] = set()
            while not self.tally.problem:
                items = [item for item in self._of_store(everything) if item.name not in seen]
                if not items:
                    break
                seen.update([item.name for item in items])
                self._send(items, len(seen) - len(items), tell)
            self._finish(len(self._marks.waiting(everything)))
            self._marks.tidy(os.listdir(folder))
        finally:
            self._marks.unlock()

    def _of_store(self, everything: bool) -> "list[Item]":
        """Records over which the receiver failed too often come last."""
        found = []
        for path in self._marks.waiting(everything):
            name = os.path.basename(path)
            kept = times.nanoseconds(name.partition("-")[0]) / 1e9
            found.append(Item(name, kept, partial(_loaded, path)))
        found.sort(key=lambda item: (self._marks.tries.get(item.name, 0) // _MOST_TRIES, item.name))
        return found

    def records(
        self, records: "Sequence[tuple[str, Any]]", tell: "Callable[[int, int], None]"
    ) -> None:
        """Send these, with the names of their files; no mark is kept. Raises OSError."""
        items = []
        seen: dict[str, int] = {}
        for path, record in records:
            kept = times.nanoseconds(record["time"]) / 1e9 or time.time()
            name = "%s %s" % (path, record["id"])
            seen[name] = seen.get(name, 0) + 1
            items.append(Item("%s %d" % (name, seen[name]), kept, partial(_same, record)))
        self._send(items, 0, tell)
        tally = self.tally
        self._finish(len(items) - tally.sent - tally.refused - tally.left)

    def _finish(self, waiting: int) -> None:
        """Where nothing waits, it is no problem that the receiver wants no more for now."""
        self.tally.waiting = waiting
        if not waiting:
            self.tally.problem = ""

    # --- in order

    def _send(
        self, items: "Sequence[Item]", before: int, tell: "Callable[[int, int], None]"
    ) -> None:
        if not self._may_begin():
            return
        self._limit = _replayed(self._marks, self._most)
        self._held = {}
        for number, item in enumerate(items):
            tell(before + number, before + len(items))
            record = item.load()
            if record is None:
                continue
            if not isinstance(record, dict):
                self._refuse(item, "is no record that can be read")
            elif self._limit.allows(record["fingerprint"], item.kept):
                self._drop_held(record["fingerprint"])
                self._send_one(item, record)
            else:
                self._leave_out(item, record["fingerprint"])
            if self.tally.problem:
                break
        self._send_held()

    def _leave_out(self, item: Item, kind: str) -> None:
        """The newest of a kind is kept back, to tell of the others when the hour is over."""
        self._drop_held(kind)
        self._held[kind] = item

    def _drop_held(self, kind: str) -> None:
        """There is a newer one to tell of it."""
        before = self._held.pop(kind, None)
        if before is not None:
            self._mark(before, "left", kind)
            self._limit.left_out(kind)
            self.tally.left += 1

    def _send_held(self) -> None:
        for kind, item in self._held.items():
            record = item.load()
            is_due = self._limit.ends(kind) <= time.time()
            if is_due and record is not None and not self.tally.problem:
                self._send_one(item, record)
            else:
                self.tally.held += 1

    def _may_begin(self) -> bool:
        """Not while the receiver asked to be left alone; our own pause is over by asking."""
        left = self._marks.until - time.time() if self._marks.is_asked else 0
        if left > self._patience:
            self.tally.problem = "asked to wait for %.0f s more" % left
            self.tally.is_known = True
            return False
        if left > 0:
            time.sleep(left)
        return True

    def _send_one(self, item: Item, record: "Any") -> None:
        kind = record["fingerprint"]
        left = self._limit.left(kind)
        if left:
            record = {**record, "left_out": left}
        before = self._redaction.count
        clean = self._redaction.record(record)
        try:
            pause = self._persist(item, clean)
        except Refused as error:
            self._refuse(item, str(error))
        except _WRONG as error:  # what it needs of a record is not there
            self._refuse(item, "is no whole record: %r" % error)
        except Unusable as error:
            self._give_up(str(error), None)
        except Later as error:
            self._give_up(str(error), error.seconds)
        else:
            self._mark(item, "sent", kind)
            self._limit.sent(kind, item.kept)
            self.tally.sent += 1
            self.tally.redacted += self._redaction.count - before
            if pause:
                self._give_up("asked to wait for %.0f s" % pause, pause)

    def _without_secrets(self, reason: str) -> str:
        """A server may say our own key to us."""
        for secret in (self._address.user, self._address.password):
            if len(secret) > 3:
                reason = reason.replace(secret, REDACTED)
        return redact(reason)[0]

    def _refuse(self, item: Item, reason: str) -> None:
        reason = self._without_secrets(reason)
        self._mark(item, "refused", reason)
        self.tally.refused += 1
        self.tally.refusal = self.tally.refusal or reason

    def _persist(self, item: Item, record: "Any") -> float:
        """Try again and again, as long as patience lasts."""
        event_id = content.event_id(record, item.name)
        send = _sender(self._address.scheme)
        failures = 0
        began = time.monotonic()
        while True:
            try:
                return send(self._address, record, event_id)
            except Later as error:
                failures += 1
                if error.is_own_fault:
                    self._mark(item, "tried", "")
                pause = error.seconds
                if pause is None:
                    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1))
                    pause = longest * random.uniform(0.5, 1)  # so that not all come at once
                if time.monotonic() - began + pause > self._patience:
                    raise
                time.sleep(pause)

    def _give_up(self, reason: str, asked: "float | None") -> None:
        """Leave the receiver alone for a while, whoever comes next."""
        self.tally.problem = self._without_secrets(reason)
        self.tally.is_known = not self._marks.hold(asked)

    def _mark(self, item: Item, mark: str, detail: str) -> None:
        self._marks.add(item.name, mark, detail)


def _sender(scheme: str) -> "Callable[[Address, Any, str], float]":
    """Of the only kind that is used: each needs modules that others do not."""
    if scheme.startswith("sentry+"):
        from crashenv._sinks import sentry

        return sentry.send
    if scheme.startswith("otlp+"):
        from crashenv._sinks import otlp

        return otlp.send
    if scheme == "journald":
        from crashenv._sinks import journald

        return journald.send
    if scheme == "eventlog":
        from crashenv._sinks import eventlog

        return eventlog.send
    if scheme.startswith("syslog"):
        from crashenv._sinks import syslog

        return syslog.send
    from crashenv._sinks import webhook

    return webhook.send


def _replayed(marks: Marks, most: int) -> Limit:
    """What the marks say of the hours so far."""
    limit = Limit(most)
    for name, mark, *detail in marks.lines:
        if mark == "sent" and detail:
            limit.sent(detail[0], times.nanoseconds(name.partition("-")[0]) / 1e9)
        elif mark == "left" and detail:
            limit.left_out(detail[0])
    return limit


def _same(record: "Any") -> "Any":
    return record


def _loaded(path: str) -> "Any":
    """The record; None if it was pruned meanwhile, something else if it is none."""
    record = crashes.whole({"path": path})
    if record is None:
        return "" if os.path.exists(path) else None
    if not isinstance(record, dict) or record.get("schema") != crashes.SCHEMA:
        return ""
    return record if isinstance(record.get("fingerprint"), str) else ""


def records_of(files: "Sequence[str]", problems: crashes.Problems) -> "Iterator[tuple[str, Any]]":
    """Each record that they hold, with the path."""
    for path in files:
        for row in crashes.rows([path], None, problems):
            record = crashes.whole(row)
            if record is not None:
                yield os.path.abspath(path), record
