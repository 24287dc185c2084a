"""The functions that replace those of ``faulthandler`` for the program.

faulthandler has one descriptor for fatal signals (``fatal_error.fd`` in faulthandler.c),
refuses ``register()`` for the signals of ``enable()``, and writes from a signal handler in
which no Python code can run: two files can get the dump only if a process of ours copies
it. The program's dumps must not depend on such a process, so the program has priority:
if it enables faulthandler, its file gets the dumps, and the crash output gets them again
when the program has disabled it. The program only sees the effects of its own calls.

``state`` is that of the start; ``state.faults`` are faulthandler's own functions.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("enable", "disable", "is_enabled", "register", "unregister")


def functions(state: "Any") -> "dict[str, Any]":
    """Return the functions that the program finds in the module, by name."""
    given = {name: _function(state, name) for name in NAMES if name in state.faults}
    if sys.implementation.name != "cpython":
        return given
    calls = {**given, "enable": _enable(state)}
    return {name: _alike(state.faults[name], calls[name]) for name in given}


def _alike(genuine: "Any", call: "Any") -> "Any":
    """Return an object that the program takes for ``genuine``, a function in C."""

    class Function:
        __slots__ = ("__weakref__",)
        __call__ = call if isinstance(call, property) else staticmethod(call)
        __class__ = type(genuine)  # inspect and pydoc look at it
        __doc__ = property(lambda function: genuine.__doc__)
        __module__ = genuine.__module__
        __repr__, __reduce__ = genuine.__repr__, genuine.__reduce__

        def __getattr__(self, name: str) -> "Any":
            return getattr(genuine, name)

    return Function()


def _function(state: "Any", name: str) -> "Any":
    def function(*args: "Any", **kwargs: "Any") -> "Any":
        return call(state, name, *args, **kwargs)

    call, hide = _call, getattr(sys.modules.get("__pypy__"), "hidden_applevel", None)
    if hide is not None:  # PyPy leaves such functions out of tracebacks
        function, call = hide(function), hide(call)
    function.__name__ = function.__qualname__ = name
    return function


def _enable(state: "Any") -> "Any":
    """Return a property for ``enable``'s ``__call__``, which needs reference counting.

    It adds no frame to the traceback of an exception that ``enable`` raises, as it does if
    ``sys.stderr`` is None or is not a file: the interpreter itself calls faulthandler's
    function, in an object that is freed after the call.
    """
    faults = state.faults

    class Call:
        __call__ = faults["enable"]  # a function in C is not bound to the object

        def __del__(self) -> None:
            if faults["is_enabled"]():
                faults["asked"] = True
            else:
                state.use(state, state.output)

    def for_call(function: "Any") -> "Any":
        if not faults["asked"]:
            faults["disable"]()
        return Call()

    return property(for_call)


def _call(state: "Any", name: str, *args: "Any", **kwargs: "Any") -> "Any":
    """Do, return and raise for the program what the function ``name`` would."""
    faults = state.faults
    ours, theirs = faults["ours"], faults["theirs"]
    if name == "disable" and not faults["asked"] and not args and not kwargs:
        return False if sys.implementation.name == "cpython" else None
    signum = args[0] if args else kwargs.get("signum")
    is_ours = isinstance(signum, int) and signum in ours and signum not in theirs
    if name == "unregister" and is_ours and args[1:] == () and not kwargs:
        return False
    result = faults[name](*args, **kwargs)  # this may raise
    if name == "enable":
        faults["asked"] = True
    elif name == "is_enabled":
        return result and faults["asked"]
    elif name == "disable":
        faults["asked"] = False
    elif name == "register":
        faults["theirs"] = {*theirs, signum}
        return result
    elif name == "unregister":
        faults["theirs"], faults["ours"] = {*theirs} - {signum}, {*ours} - {signum}
    if name != "enable":
        state.use(state, state.output)  # take what the program has given up
    return result


def unwatch(state: "Any") -> None:
    """Leave faulthandler as the program has it."""
    faults, signals = state.faults, __import__("_signal")
    if not faults:
        return
    if not faults["asked"]:
        faults["disable"]()
    for signum in {*faults["ours"]} - {*faults["theirs"]}:
        # unregister() would otherwise remove a handler that the program has set since
        if signals.getsignal(signum) == signals.SIG_DFL:
            faults["unregister"](signum)
    faults["ours"] = set()


def leave_caught_signals(state: "Any") -> None:
    """Leave signals alone that C code handles by now, which getsignal() does not show."""
    if state.faults:
        caught = signals_in(b"SigCgt:") - {*state.faults["ours"]}
        state.faults["theirs"] = {*state.faults["theirs"], *caught}


def signals_in(key: bytes) -> "set[int]":
    """Return the signals of a line of /proc/self/status (proc(5)), whose bit 0 is signal 1."""
    try:
        with open("/proc/self/status", "rb") as status:
            line = next(line for line in status if line.startswith(key))
    except (OSError, StopIteration):
        return set()
    mask = int(line.split()[1], 16)
    return {n for n in range(1, 65) if mask >> (n - 1) & 1}
