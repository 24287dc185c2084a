"""The exceptions of sending a record; none is raised if it was accepted."""

TYPE_CHECKING = False


class Later(Exception):
    """Not now: the receiver cannot be reached, or is busy.

    ``seconds`` is how long it asked us to wait, None if it did not. ``is_own_fault`` if
    the receiver failed with this record, and might accept another.
    """

    def __init__(
        self, reason: str, seconds: "float | None" = None, is_own_fault: bool = False
    ) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.is_own_fault = is_own_fault


class Refused(Exception):
    """Never: the receiver does not accept this record."""


class Unusable(Exception):
    """Not any record, until the address, the key or a certificate is corrected."""
