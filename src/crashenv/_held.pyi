"""For type checkers: the names in the namespace in which the start executes what it holds.

A class or a name for annotations alone is there, too. The compiler keeps the names of an import
that it drops, so that one ``import *`` costs a crash less than its list of names.
"""

import sys as sys
from _thread import _count as _count
from _thread import allocate_lock as allocate_lock
from _thread import get_ident as get_ident
from _thread import get_native_id as get_native_id
from collections.abc import Callable as Callable
from collections.abc import Iterator as Iterator
from os import F_TLOCK as F_TLOCK
from os import F_ULOCK as F_ULOCK
from os import fstat as fstat
from os import getpid as getpid
from os import lockf as lockf
from os import lseek as lseek
from os import write as write
from time import monotonic as monotonic
from time import sleep as sleep
from time import time_ns as time_ns
from types import FrameType as FrameType
from types import TracebackType as TracebackType
from typing import Any as Any

from crashenv._wire import LONGEST_VALUE as LONGEST_VALUE
from crashenv._wire import OMISSION as OMISSION
from crashenv._wire import header as header
from crashenv._wire import timestamp as timestamp

state: Any  # of the start

__all__ = [
    "F_TLOCK",
    "F_ULOCK",
    "LONGEST_VALUE",
    "OMISSION",
    "Any",
    "Callable",
    "FrameType",
    "Iterator",
    "TracebackType",
    "_count",
    "allocate_lock",
    "fstat",
    "get_ident",
    "get_native_id",
    "getpid",
    "header",
    "lockf",
    "lseek",
    "monotonic",
    "sleep",
    "state",
    "sys",
    "time_ns",
    "timestamp",
    "write",
]
