"""Send the records that are waiting for one sink, in order, until none is left or sending fails.

One process at a time sends to a sink; it holds the lock of its marks. A record is marked
when the receiver has confirmed it. If the process ends in between, that record is sent again
with the same event id, by which receivers recognise duplicates.
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

# Seconds before the second try, at most; the time doubles with each further try.
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 60.0
# After so many failures of a receiver with one record, the others are sent first.
_MOST_TRIES = 20
_WRONG = (AttributeError, IndexError, KeyError, TypeError)


class Item:
    """A waiting record. ``load`` returns it, None if it was removed."""

    def __init__(self, name: str, kept: float, load: "Callable[[], Any]") -> None:
        self.name = name
        self.kept = kept  # when, in seconds since 1970
        self.load = load


class Tally:
    """What happened to the records; ``problem`` is why some are still waiting."""

    def __init__(self) -> None:
        self.sent = self.refused = self.left = self.held = self.waiting = self.redacted = 0
        self.refusal = ""
        self.problem = ""
        self.is_known = False  # the problem existed before


class Sending:
    """Sends redacted records to ``address``, at most ``most`` of a kind in an hour.

    ``patience`` is how many seconds to try if a receiver fails.
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
        """Send the records waiting in ``folder``. Raise OSError for it, or for a mark.

        ``tell`` is called with how many are done, of how many.
        """
        os.listdir(folder)  # so that it is not created if it does not exist
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
        """Return the waiting records; those with which the receiver failed too often are last."""
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
        """Send these, with the names of their files, without any marks. Raise OSError."""
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
        """Note how many are waiting; if none, a receiver that asks for a pause is no problem."""
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
                self._refuse(item, "is not a readable record")
            elif self._limit.allows(record["fingerprint"], item.kept):
                self._drop_held(record["fingerprint"])
                self._send_one(item, record)
            else:
                self._leave_out(item, record["fingerprint"])
            if self.tally.problem:
                break
        self._send_held()

    def _leave_out(self, item: Item, kind: str) -> None:
        """Hold the newest of a kind back: after the hour it reports the number of the others."""
        self._drop_held(kind)
        self._held[kind] = item

    def _drop_held(self, kind: str) -> None:
        """Leave out the one held back: a newer one will report it."""
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
        """Wait as long as the receiver asked; a pause of our own ends when this is started."""
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
        except _WRONG as error:  # a part that is needed is missing
            self._refuse(item, "is not a complete record: %r" % error)
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
        """Remove our own key, which a server may repeat in its answer."""
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
        """Try until it succeeds or the patience is over."""
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
                    pause = longest * random.uniform(0.5, 1)  # so that not all senders come at once
                if time.monotonic() - began + pause > self._patience:
                    raise
                time.sleep(pause)

    def _give_up(self, reason: str, asked: "float | None") -> None:
        """Leave the receiver alone for a while, also in later processes."""
        self.tally.problem = self._without_secrets(reason)
        self.tally.is_known = not self._marks.hold(asked)

    def _mark(self, item: Item, mark: str, detail: str) -> None:
        self._marks.add(item.name, mark, detail)


def _sender(scheme: str) -> "Callable[[Address, Any, str], float]":
    """Import only the kind that is used: each needs modules that others do not."""
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
    """Return the limit after the crashes in the marks."""
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
    """Return the record; None if it was pruned meanwhile, "" if it is not a record."""
    record = crashes.whole({"path": path})
    if record is None:
        return "" if os.path.exists(path) else None
    if not isinstance(record, dict) or record.get("schema") != crashes.SCHEMA:
        return ""
    return record if isinstance(record.get("fingerprint"), str) else ""


def records_of(files: "Sequence[str]", problems: crashes.Problems) -> "Iterator[tuple[str, Any]]":
    """Yield each record in the files, with its path."""
    for path in files:
        for row in crashes.rows([path], None, problems):
            record = crashes.whole(row)
            if record is not None:
                yield os.path.abspath(path), record
