"""Who calls us when something crashed: sys, threading and _thread.

Small, because every start pays for it: the crash side does the work.
"""

import sys

import crashenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType
    from typing import Any

    from crashenv._output import CrashOutput

# What follows is "started by", and from 3.13 on the function, on PyPy the thread's number.
_RAW_THREAD = "Exception ignored in thread "

_installed = False
_print_exception = sys.__excepthook__
output: "CrashOutput | None" = None


def install(new_output: "CrashOutput | None") -> None:
    """Report crashes to ``new_output`` from now on; None: to nobody."""
    global _installed, output
    output = new_output
    if output is not None and not _installed:
        _installed = True
        _install_excepthook()
        _install_unraisablehook()
        _await_modules()


def crash_side() -> "ModuleType | None":
    """``_crash``; None if nothing is to be reported, or nothing can be."""
    try:
        return None if output is None else crashenv.load_crash_side()
    except BaseException:  # out of memory, a damaged installation
        return None


def report(entry: str, original: "Callable[..., Any]", *args: "Any") -> None:
    """Have the crash side's ``entry`` call ``original(*args)``, or call it.

    It prints exactly once, and what it raises is raised, whatever fails of ours.
    """
    called = raised = False

    def tracked(*args: "Any") -> "Any":
        nonlocal called, raised
        if called:  # the crash side has it print once more, nowhere
            return original(*args)
        called = raised = True
        result = original(*args)
        raised = False
        return result

    crash = crash_side()
    try:
        if crash is not None:
            getattr(crash, entry)(output, tracked, *args)
    except BaseException:
        if raised:
            raise
    if not called:
        original(*args)


def _install_excepthook() -> None:
    # Both names: exceptiongroup, code and others compare the one with the other.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook
    sys.__excepthook__ = _excepthook


def _excepthook(
    exc_type: "type[BaseException]", value: "BaseException", traceback: "TracebackType | None", /
) -> None:
    report("main_thread", _print_exception, exc_type, value, traceback)


def at_exit() -> None:
    if getattr(sys, "last_value", None) is not None:
        crash = crash_side()
        if crash is not None:
            crash.displaced(output, _print_exception)


def _install_unraisablehook() -> None:
    original = sys.__unraisablehook__
    prefix = _RAW_THREAD

    # A closure: it is called until the very end, when our module's names may be gone.
    def unraisablehook(unraisable: "sys.UnraisableHookArgs", /) -> None:
        message = getattr(unraisable, "err_msg", None)  # anyone may call us, with anything
        if type(message) is str and message.startswith(prefix):
            report("raw_thread", original, unraisable)
        else:
            original(unraisable)

    if sys.unraisablehook is original:
        sys.unraisablehook = unraisablehook
    sys.__unraisablehook__ = unraisablehook


# --- modules that the program may import later, or never

_awaited = {"threading", "multiprocessing.process", "multiprocessing.util"}
_searching = False


def _await_modules() -> None:
    for name in sorted(_awaited & sys.modules.keys()):
        patch(sys.modules[name])
    if _awaited:
        sys.meta_path.insert(0, sys.modules[__name__])


def patch(module: "ModuleType") -> None:
    """Nothing is to be reported from a module that is not the one that we know."""
    _awaited.discard(module.__name__)
    try:
        from crashenv import _patches

        getattr(_patches, module.__name__.replace(".", "_"))(module)
    except BaseException:
        pass
    if not _awaited and sys.modules[__name__] in sys.meta_path:
        sys.meta_path.remove(sys.modules[__name__])


def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
    """This module, as an entry of ``sys.meta_path``, sees the awaited ones arrive."""
    global _searching
    if name not in _awaited or _searching:
        return None
    # Another finder like this one may search for itself. Another thread does not: the
    # others import threading first, and are imported under multiprocessing's lock.
    _searching = True
    try:
        spec = _find(name, path, target)
    finally:
        _searching = False
    try:
        from crashenv._patches import Loader

        spec.loader = Loader(spec.loader)
    except BaseException:  # found nowhere, or a damaged installation
        pass
    return spec


def _find(name: str, path: "Any", target: "Any") -> "Any":
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and find is not find_spec:
            spec = find(name, path, target)
            if spec is not None:
                return spec
    return None
