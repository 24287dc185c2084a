"""Limit how often one kind of crash is sent in an hour; the next one says how many were not.

The hour is measured by the times of the crashes, not of sending: crashes that waited for an
unreachable receiver are neither sent all at once nor lost because they waited.
"""

TYPE_CHECKING = False

HOUR = 3600.0  # seconds


class _Window:
    def __init__(self, start: float) -> None:
        self.start = start
        self.sent = 1
        self.left = 0


class Limit:
    """The limit of one sink: ``most`` crashes of a kind in an hour, 0 for no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._windows: dict[str, _Window] = {}

    def allows(self, kind: str, time: float) -> bool:
        """Return whether a crash that was stored at ``time``, in seconds, may be sent."""
        window = self._windows.get(kind)
        if window is None or not self._most:
            return True
        return time >= window.start + HOUR or window.sent < self._most

    def ends(self, kind: str) -> float:
        """Return when the hour is over; then the last one that was left out may be sent."""
        return self._windows[kind].start + HOUR

    def left(self, kind: str) -> int:
        """Return how many were left out since the last one that was sent."""
        window = self._windows.get(kind)
        return 0 if window is None else window.left

    def sent(self, kind: str, time: float) -> None:
        window = self._windows.get(kind)
        if window is None or time >= window.start + HOUR:
            self._windows[kind] = _Window(time)
        elif self._most and window.sent >= self._most:  # the last one, after the hour
            self._windows[kind] = _Window(window.start + HOUR)
        else:
            window.sent += 1
            window.left = 0

    def left_out(self, kind: str) -> None:
        if kind in self._windows:
            self._windows[kind].left += 1
