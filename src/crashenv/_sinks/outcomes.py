"""What may become of a record that is sent: if it is taken, nothing is raised."""

TYPE_CHECKING = False


class Later(Exception):
    """Not now: the receiver cannot be reached, or is busy.

    ``seconds`` is what it asked us to wait, None if it did not. ``is_own_fault`` where
    the receiver failed over this record, and might take another.
    """

    def __init__(
        self, reason: str, seconds: "float | None" = None, is_own_fault: bool = False
    ) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.is_own_fault = is_own_fault


class Refused(Exception):
    """Never: the receiver does not want this record, or what it is made into."""


class Unusable(Exception):
    """No record at all, until somebody corrects the address, the key or a certificate."""
