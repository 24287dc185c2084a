"""crashenv: every crash of a Python program, on one more descriptor or file.

``PYDEBUG=crashfd=3 python app.py 3>crash.log`` needs no code. From code:

    import crashenv
    crashenv.set_crash_output(open("crash.log", "a"))

The rest of this file is how the package's own modules get loaded: cheaply at the
start, safely at a crash. Here, because importing one more module costs the start
0.7 %.

Modules of the *start side* are executed at every start, and what the import
system does to find one costs as much as the module itself. Modules of the *crash
side* are executed when something crashed, and an import may fail then: no
descriptor may be left (EMFILE), no path (chroot, a deleted virtual environment).
So they are read at the start and executed from memory.

Both are read from the ``.pyc`` beside this module's, if it is that of the source;
if not (no ``.pyc`` yet, one that is checked by hash, a zip file), the import system
loads them, at the start.
"""

import marshal
import os
import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from crashenv._api import set_crash_output
    from crashenv._listening import Pipe, Reader, read

__all__ = ["Pipe", "Reader", "read", "set_crash_output"]
__version__ = "0.1.0"

# In the order in which they need each other. The first three see whether PYDEBUG is
# meant for this process at all.
BOOTSTRAP = ("_settings", "_descriptor", "_bootstrap")
START_SIDE = ("_hooks", "_faults", "_output")
CRASH_SIDE = ("_wire", "_writer", "_capture", "_crash")

_PACKAGE = "crashenv."

# name: the module that has it
_PUBLIC = {
    "Pipe": "_listening",
    "Reader": "_listening",
    "read": "_listening",
    "set_crash_output": "_api",
}
_HEADER = 16  # bytes of a .pyc before the code (PEP 552)

# "python -m trace" shows what a module does whose globals have a __file__.
_FILE = __file__
del __file__

_held: "dict[str, bytes]" = {}
_lock = allocate_lock()


def __getattr__(name: str) -> "Any":
    # PEP 562. The bootstrap, which every start pays for, imports the package too.
    if name in _PUBLIC:
        module = _PACKAGE + _PUBLIC[name]
        __import__(module)
        return getattr(sys.modules[module], name)
    if name == "__file__":
        return _FILE
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


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
    folder, _, ending = path.rpartition("__init__.")
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
        globals()[name] = module  # for "from crashenv import"
        del _held[name]


def after_fork_in_child() -> None:
    """Another thread of the parent may have held a lock in the moment of the fork."""
    global _lock
    _lock = allocate_lock()
    for name in CRASH_SIDE:
        reset = getattr(sys.modules.get(_PACKAGE + name), "after_fork_in_child", None)
        if reset is not None:
            reset()
