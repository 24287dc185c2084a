"""How the package's own modules get loaded: cheaply at the start, safely at a crash.

Modules of the *start side* are executed at every start, and what the import
system does to find one costs as much as the module itself (0.12 ms of 0.25).
Modules of the *crash side* are executed when something crashed, and an import may
fail then: no descriptor may be left (EMFILE), no path (chroot, a deleted
virtual environment). So they are read at the start and executed from memory.

Both are read from the ``.pyc`` beside this module's, if it is that of the
source; if not (no ``.pyc`` yet, one that is checked by hash, a zip file), the
import system loads them, at the start.
"""

import marshal
import os
import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# In the order in which they need each other. The first three see whether PYDEBUG is
# meant for this process at all.
BOOTSTRAP = ("_settings", "_descriptor", "_bootstrap")
START_SIDE = ("_hooks", "_faults", "_output")
CRASH_SIDE = ("_wire", "_writer", "_capture", "_crash")

_PACKAGE = "crashenv."
_HEADER = 16  # bytes of a .pyc before the code (PEP 552)

_FILE = __file__
# "python -m trace" shows what a module with a __file__ does; the others have none.
del __file__

_held: "dict[str, bytes]" = {}
_lock = allocate_lock()


def activate() -> None:
    """What the ``.pth`` line and ``sitecustomize`` do, once in a process: read PYDEBUG.

    Never an exception of ours, nor an interpreter that does not start.
    """
    try:
        _read(BOOTSTRAP)
        _execute(BOOTSTRAP)
        sys.modules[_PACKAGE + BOOTSTRAP[-1]].activate()
    except BaseException:
        pass


def load_start_side() -> "Any":
    """The module ``crashenv._output``."""
    _read(START_SIDE)
    _execute(START_SIDE)
    return sys.modules[_PACKAGE + START_SIDE[-1]]


def read_crash_side() -> None:
    """Make sure that ``load_crash_side`` needs neither a descriptor nor a path."""
    _read(CRASH_SIDE)


def load_crash_side() -> "ModuleType":
    """The module ``crashenv._crash``."""
    with _lock:
        _execute(CRASH_SIDE)
    return sys.modules[_PACKAGE + CRASH_SIDE[-1]]


def _read(names: "tuple[str, ...]") -> None:
    for name in names:
        if _PACKAGE + name not in sys.modules:
            try:
                _held[name] = _cached(name)
            except (AttributeError, ImportError, OSError, ValueError):
                __import__(_PACKAGE + name)


def _cached(name: str) -> bytes:
    """The module's .pyc file; raises ValueError if it is not that of the source."""
    from _frozen_importlib_external import MAGIC_NUMBER

    fd = os.open(_beside(__spec__.cached or "", name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    source = os.stat(_beside(_FILE, name))
    stamps = (0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size)
    if data[:_HEADER] != MAGIC_NUMBER + b"".join([s.to_bytes(4, "little") for s in stamps]):
        raise ValueError(name)
    return data


def _beside(path: str, name: str) -> str:
    folder, _, ending = path.rpartition("_load.")
    return folder + name + "." + ending


def _execute(names: "tuple[str, ...]") -> None:
    for name in names:
        qualified = _PACKAGE + name
        if qualified in sys.modules:
            continue
        module = type(sys)(qualified)
        module.__package__ = "crashenv"
        sys.modules[qualified] = module
        try:
            exec(marshal.loads(memoryview(_held[name])[_HEADER:]), module.__dict__)
        except BaseException:
            del sys.modules[qualified]
            raise
        setattr(sys.modules["crashenv"], name, module)  # for "from crashenv import"
        del _held[name]


def after_fork_in_child() -> None:
    """Another thread of the parent may have held a lock in the moment of the fork."""
    global _lock
    _lock = allocate_lock()
    for name in CRASH_SIDE:
        reset = getattr(sys.modules.get(_PACKAGE + name), "after_fork_in_child", None)
        if reset is not None:
            reset()
