from typing import Any

from crashenv._api import activate as activate
from crashenv._api import set_crash_output as set_crash_output
from crashenv._listening import Pipe as Pipe
from crashenv._listening import Reader as Reader
from crashenv._listening import read as read
from crashenv._loghandler import LogHandler as LogHandler
from crashenv._seldom.family import note as note
from crashenv._starting import start_monitor as start_monitor

__version__: str
_start: Any
_state: Any
_use: Any
__all__ = [
    "LogHandler",
    "Pipe",
    "Reader",
    "activate",
    "note",
    "read",
    "set_crash_output",
    "start_monitor",
]
