"""A ``logging`` handler whose records outlive the process, in a module that imports logging."""

import logging

from crashenv._seldom.family import note


class LogHandler(logging.Handler):
    """Keeps each record among the process's last words, see ``note``: formatted, in one line.

    ``logging.getLogger().addHandler(crashenv.LogHandler())`` keeps all of them.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            note(self.format(record))
        except Exception:  # as every handler does it: logging.raiseExceptions decides
            self.handleError(record)
