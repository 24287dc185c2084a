"""multiprocessing, and its copies ``multiprocess`` and ``billiard``.

Nothing of ours is on the stack while a worker's code runs: what is changed is what
``_bootstrap`` and ``spawnv_passfds`` look up.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PACKAGES = ("multiprocessing", "multiprocess", "billiard")


def watch(state: "Any", finder: "Any") -> None:
    """Look at each search of ``finder``, for one of multiprocessing's modules.

    What was loaded before is patched then. The last of its modules that are imported
    before a worker is started comes after the two that are to be patched.
    """
    original = finder.find_spec

    def find_spec(name: str, target: "Any" = None) -> "Any":
        try:
            patch(state)
        except Exception:  # another version's modules
            pass
        return original(name, target)

    finder.find_spec = find_spec


def patch(state: "Any") -> None:
    """Change what has been imported so far."""
    for package in _PACKAGES:
        process = sys.modules.get(package + ".process")
        if hasattr(process, "BaseProcess"):
            _patch_process(process, state)
        util = sys.modules.get(package + ".util")
        if hasattr(util, "spawnv_passfds") and "sorted" not in vars(util):
            _patch_util(util, state)


def _patch_process(module: "Any", state: "Any") -> None:
    """See the exception that ``BaseProcess._bootstrap`` is about to print.

    It prints a worker's exception itself, and asks no hook. While it handles the
    exception it looks up ``self.name`` for the line "Process ...:", on every version.
    """
    name: Any = module.BaseProcess.__dict__["name"]
    if not isinstance(name, property) or getattr(name.fget, "__name__", "") == "get_name":
        return
    fget: Any = name.fget
    exc_info = state.exc_info

    def get_name(self: "Any") -> "Any":
        result = fget(self)
        if exc_info()[1] is not None:
            names = state.names_for(state, "worker")
            if names is not None:
                names["worker"](module, self, result)
        return result

    module.BaseProcess.name = property(get_name, name.fset, name.fdel, name.__doc__)


def _patch_util(module: "Any", state: "Any") -> None:
    """Pass the crash output to spawned workers and to the forkserver.

    ``spawnv_passfds`` closes all but what it passes: ``tuple(sorted(map(int, passfds)))``
    on every version. It looks ``sorted`` up in its module first. The resource tracker is
    started by it as well, but runs nothing of the program's, and would keep the reader
    from seeing the end of the file.
    """

    def with_ours(passed: "Any") -> "list[Any]":
        result = sorted(passed)
        try:
            source = state.output.source
            status = os.fstat(source)
            if (status.st_dev, status.st_ino) != state.output.identity or source in result:
                return result
            if not _is_for_tracker():
                return sorted([*result, source])
        except (AttributeError, OSError, TypeError):  # no output, or none that is passed
            pass
        return result

    vars(module)["sorted"] = with_ours
    if state.output is not None and state.output.at_exit is not None:
        # A forked worker leaves by os._exit(); what runs then are multiprocessing's finalizers.
        def in_worker(anchor: "Any") -> None:
            module.Finalize(None, state.output.at_exit, exitpriority=-1000)

        module.register_after_fork(in_worker, in_worker)
        state.anchors = (*getattr(state, "anchors", ()), in_worker)


def _is_for_tracker() -> bool:
    try:
        caller = sys._getframe(3)  # of spawnv_passfds
    except Exception:  # an audit hook that raises
        return False
    return str(caller.f_globals.get("__name__")).endswith(".resource_tracker")
