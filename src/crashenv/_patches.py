"""What is changed in a module of the standard library, once the program has imported it."""

import sys

from crashenv import _hooks

del __file__  # as in the package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from types import ModuleType
    from typing import Any


class Loader:
    """Loads with the module's own loader, then patches the module."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "Any") -> "Any":
        return self._loader.create_module(spec)

    def exec_module(self, module: "Any") -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _hooks.patch(module)


def threading(module: "ModuleType") -> None:
    # From 3.10 on; before, only what is there when we come can be the genuine one.
    genuine = getattr(module, "__excepthook__", module.excepthook)
    module.Thread._invoke_excepthook = _InvokeExceptHook(genuine)


class _InvokeExceptHook:
    """Stands in for ``Thread._invoke_excepthook``.

    ``Thread.__init__`` stores the function that calls ``threading.excepthook``
    in the instance, and ``_bootstrap_inner`` calls it with the crashed thread,
    on every version from 3.8. A data descriptor of the class goes before the
    instance's own, for threads that exist already too, and leaves
    ``threading.excepthook`` to the program.
    """

    _NAME = "_invoke_excepthook"

    def __init__(self, genuine: "Callable[[Any], Any]") -> None:
        self.genuine = genuine

    def __set__(self, thread: "Thread", invoke: "Callable[[Any], None]") -> None:
        thread.__dict__[self._NAME] = invoke

    def __get__(self, thread: "Thread | None", owner: type) -> "Callable[[Any], None]":
        try:
            invoke: Callable[[Any], None] = thread.__dict__[self._NAME]
        except (AttributeError, KeyError):
            raise AttributeError(self._NAME) from None

        def call(crashed: "Thread") -> None:
            _hooks.report("thread", invoke, crashed)

        return call


def multiprocessing_process(module: "ModuleType") -> None:
    """``BaseProcess._bootstrap`` prints a worker's exception itself, and asks no hook.

    What it does first, on every version, is to look up ``self.name`` for the
    line "Process ...:", while the exception is being handled. That is where
    keeping what it prints begins; it ends with ``_bootstrap``.
    """
    process = module.BaseProcess
    original, name = process._bootstrap, process.name
    crashes: dict[Any, Any] = {}

    def get_name(self: "Any") -> "Any":
        if sys._getframe(1).f_code is original.__code__ and self not in crashes:
            try:
                crash: Any = _hooks.crash_side()
                crashes[self] = crash.Worker(_hooks.output, name.fget(self))
            except BaseException:  # out of memory, no crash output, no installation any more
                pass
        return name.fget(self)

    def bootstrap(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return original(self, *args, **kwargs)
        finally:
            if self in crashes:
                crashes.pop(self).report()
            if _hooks.output is not None:
                _hooks.output.at_exit()  # a forked worker leaves by os._exit

    process.name = property(get_name, name.fset, name.fdel, name.__doc__)
    process._bootstrap = bootstrap


def multiprocessing_util(module: "Any") -> None:
    """``spawnv_passfds`` starts spawned workers and the forkserver, and closes all else.

    The resource tracker is started by it as well, but runs nothing of the
    program's, and would keep the reader from seeing the end of the file.
    """
    original = module.spawnv_passfds

    def spawnv_passfds(path: "Any", args: "Any", passfds: "Any") -> "Any":
        source = None if _hooks.output is None else _hooks.output.passed_descriptor()
        if source is not None and not any("resource_tracker" in str(arg) for arg in args):
            passfds = {source, *passfds}
        return original(path, args, passfds)

    module.spawnv_passfds = spawnv_passfds
