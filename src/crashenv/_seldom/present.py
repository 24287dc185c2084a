"""Hooks that a start installs only if a module is loaded already, or a function is missing."""

import sys

from crashenv._seldom import faults, workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def hook_in(state: "Any", is_first: bool) -> None:
    """``is_first``: no exception had been stored in ``sys.last_traceback``."""
    if not is_first or sys.implementation.name != "cpython":  # no reference counting
        import atexit

        atexit.register(state.stub("at_exit", None))
    hide = getattr(sys.modules.get("__pypy__"), "hidden_applevel", None)
    if hide is not None:
        _hide_frames(state, hide)
    state.ignored = faults.signals_in(b"SigIgn:") if hide is not None else set()
    os: Any = __import__("os")
    if not hasattr(os, "register_at_fork"):
        _hook_into_thread(state)
    if "threading" in sys.modules:
        names = state.names_for(state, "patch_threading", ("_hooks",))
        names["patch_threading"](vars(sys.modules["threading"]))
    folder = getattr(os, "__file__", "os.py")[:-5] + "multiprocessing"
    finder = sys.path_importer_cache[folder]
    if finder is not state.finder:
        workers.patch(state)
        workers.watch(state, finder)


def _hide_frames(state: "Any", hide: "Any") -> None:
    """Mark our code as PyPy's own, whose frames are in no traceback and no stack.

    PyPy's hook is in Python: it raises what a hostile exception raises, and the
    interpreter prints the traceback of that, which would begin with our frames. In hidden
    code, globals() returns those of its caller.
    """
    execute = state.exec
    function: Any = type(_hide_frames)
    (cell,) = (lambda: state).__closure__ or ()

    def hide_functions(code: "Any") -> None:
        for inner in code.co_consts:
            if type(inner) is type(code):
                hide_functions(inner)
                cells = (cell,) * len(inner.co_freevars) or None
                hide(function(inner, {}, "", None, cells))

    def execute_hidden(code: "Any", names: "dict[str, Any]") -> None:
        try:
            hide_functions(code)
        except Exception:  # another version of PyPy
            pass
        execute(code, names)

    hide(state.excepthook)  # all stubs have the same code
    state.exec = execute_hidden


def _hook_into_thread(state: "Any") -> None:
    """Replace the function that threading calls for its main thread while it is loaded."""
    import _thread

    name = "_get_main_thread_ident" if sys.version_info >= (3, 13) else "_set_sentinel"
    setattr(_thread, name, state.stub(name, getattr(_thread, name)))
