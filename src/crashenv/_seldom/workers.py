"""multiprocessing, and its copies ``multiprocess`` and ``billiard``.

No frame of ours is on the stack while a worker's code runs: only names that
``_bootstrap`` and ``spawnv_passfds`` look up are changed.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PACKAGES = ("multiprocessing", "multiprocess", "billiard")


def watch(state: "Any", finder: "Any") -> None:
    """Patch at each search of ``finder`` for one of multiprocessing's modules.

    This patches the modules that were loaded before. The last module that is imported
    before a worker is started comes after the two that have to be patched.
    """
    original = finder.find_spec

    def find_spec(name: str, target: "Any" = None) -> "Any":
        _patch_quietly(state)
        return original(name, target)

    finder.find_spec = find_spec
    if not state.__dict__.setdefault("is_watched", False) and hasattr(os, "register_at_fork"):
        # If workers are forked, util may be the last module.
        state.is_watched = True
        os.register_at_fork(after_in_child=lambda: _patch_quietly(state))


def _patch_quietly(state: "Any") -> None:
    try:
        patch(state)
    except Exception:  # another version's modules
        pass


def patch(state: "Any") -> None:
    """Patch the modules that have been imported so far."""
    for package in _PACKAGES:
        process = sys.modules.get(package + ".process")
        if hasattr(process, "BaseProcess"):
            _patch_process(process, state)
        for name in (".util", ".compat"):  # the second in billiard
            module = sys.modules.get(package + name)
            if hasattr(module, "spawnv_passfds") and "sorted" not in vars(module):
                _pass_output(module, state)
        util = sys.modules.get(package + ".util")
        if hasattr(util, "_flush_std_streams") and hasattr(process, "BaseProcess"):
            _watch_flush(util, process, state)
        at_exit = getattr(state.output, "at_exit", None)
        if at_exit is not None and hasattr(util, "register_after_fork"):
            _run_at_exit(util, state)
            _name_spawned(sys.modules.get(package + ".context"), package)


def _patch_process(module: "Any", state: "Any") -> None:
    """Report the exception that ``BaseProcess._bootstrap`` is about to print.

    It prints a worker's exception itself, without a hook. While it handles the
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


class _Looked:
    """Notices the lookup of a function, and is not on the stack when it is called."""

    def __init__(self, function: "Any", look: "Any") -> None:
        self._function, self._look = function, look

    @property
    def __call__(self) -> "Any":
        self._look()
        return self._function


def _watch_flush(util: "Any", process: "Any", state: "Any") -> None:
    """Report the exception that ``BaseProcess._bootstrap`` cannot print.

    If it cannot import traceback, or ``sys.stderr`` is None, it does not look up
    ``self.name``. Its last step, while the second exception leaves it, is to flush.
    """
    if isinstance(util._flush_std_streams, _Looked):
        return
    exc_info = state.exc_info

    def look() -> None:
        if exc_info()[1] is not None:
            names = state.names_for(state, "worker")
            if names is not None:
                names["worker_in_silence"](process)

    util._flush_std_streams = _Looked(util._flush_std_streams, look)


def _pass_output(module: "Any", state: "Any") -> None:
    """Pass the crash output to spawned workers and to the forkserver.

    ``spawnv_passfds`` closes all descriptors but ``tuple(sorted(map(int, passfds)))``,
    on every version. It looks ``sorted`` up in its module first. It also starts the
    resource tracker, which runs no code of the program, and would keep the reader from
    seeing the end of the file.
    """

    def with_ours(values: "Any", **options: "Any") -> "list[Any]":
        result = sorted(values, **options)
        try:
            source = state.output.source
            status = os.fstat(source)
            if (status.st_dev, status.st_ino) != state.output.identity or source in result:
                return result
            frame: Any = sys._getframe(1)
            caller = str(frame.f_back.f_globals.get("__name__"))
            if frame.f_code.co_name == "spawnv_passfds" and not caller.endswith("_tracker"):
                return sorted([*result, source])
        except Exception:  # no output, or not one that is passed; an audit hook that raises
            pass
        return result

    vars(module)["sorted"] = with_ours


def _run_at_exit(util: "Any", state: "Any") -> None:
    """Use multiprocessing's finalizers: a forked worker ends by os._exit(), without atexit."""
    anchors: dict[str, Any] = state.__dict__.setdefault("anchors", {})
    if util.__name__ in anchors:
        return

    def in_worker(anchor: "Any") -> None:
        util.Finalize(None, state.output.at_exit, exitpriority=-1000)
        _tell_name(util.__name__.rpartition(".")[0])

    util.register_after_fork(in_worker, in_worker)
    anchors[util.__name__] = in_worker


def _name_spawned(context: "Any", package: str) -> None:
    """Replace ``_after_fork`` of spawned workers, which runs no registered functions."""
    spawned = vars(getattr(context, "SpawnProcess", object))
    if "_after_fork" in spawned and getattr(spawned["_after_fork"], "__name__", "") != "tell":

        def tell() -> None:
            _tell_name(package)

        context.SpawnProcess._after_fork = staticmethod(tell)


def _tell_name(package: str) -> None:
    """Announce the name to a monitor, for the record of this worker's death."""
    family = sys.modules.get("crashenv._seldom.family")
    process = sys.modules.get(package + ".process")
    if family is not None and process is not None:
        family.named(str(getattr(process.current_process(), "_name", "")))
