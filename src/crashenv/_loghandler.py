"""A ``logging`` handler whose records outlive the process; this module imports logging."""

import logging

from crashenv._seldom.family import note


class LogHandler(logging.Handler):
    """Adds each record, formatted, in one line, to the process's last words; see ``note``.

    ``logging.getLogger().addHandler(crashenv.LogHandler())`` keeps all of them.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            note(self.format(record))
        except Exception:  # as in every handler: see logging.raiseExceptions
            self.handleError(record)
