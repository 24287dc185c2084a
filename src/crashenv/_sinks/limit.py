"""One kind of crash is sent so many times an hour, and the next one tells how many were not.

The hour is that of the crashes, not of the sending: what waited for a receiver that was
away is neither sent all at once nor lost for having waited.
"""

TYPE_CHECKING = False

HOUR = 3600.0  # seconds


class _Window:
    def __init__(self, start: float) -> None:
        self.start = start
        self.sent = 1
        self.left = 0


class Limit:
    """Of one sink; ``most`` of a kind in an hour, 0 for no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._windows: dict[str, _Window] = {}

    def allows(self, kind: str, time: float) -> bool:
        """Whether one that was kept at ``time``, in seconds, may be sent."""
        window = self._windows.get(kind)
        if window is None or not self._most:
            return True
        return time >= window.start + HOUR or window.sent < self._most

    def ends(self, kind: str) -> float:
        """When the hour is over, after which the last one that was not sent may be."""
        return self._windows[kind].start + HOUR

    def left(self, kind: str) -> int:
        """How many were not sent since one was."""
        window = self._windows.get(kind)
        return 0 if window is None else window.left

    def sent(self, kind: str, time: float) -> None:
        window = self._windows.get(kind)
        if window is None or time >= window.start + HOUR:
            self._windows[kind] = _Window(time)
        elif self._most and window.sent >= self._most:  # the last one, when the hour was over
            self._windows[kind] = _Window(window.start + HOUR)
        else:
            window.sent += 1
            window.left = 0

    def left_out(self, kind: str) -> None:
        if kind in self._windows:
            self._windows[kind].left += 1
