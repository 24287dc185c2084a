"""What is changed in a module of the standard library, once the program has imported it."""

from crashenv import _hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from types import ModuleType
    from typing import Any


def threading(module: "ModuleType") -> None:
    module.Thread._invoke_excepthook = _InvokeExceptHook(module)


class _InvokeExceptHook:
    """Stands in for ``Thread._invoke_excepthook``.

    ``Thread.__init__`` stores the function that calls ``threading.excepthook``
    in the instance, and ``_bootstrap_inner`` calls it with the crashed thread,
    on every version from 3.8. A data descriptor of the class goes before the
    instance's own, for threads that exist already too, and leaves
    ``threading.excepthook`` to the program.
    """

    _NAME = "_invoke_excepthook"

    def __init__(self, module: "ModuleType") -> None:
        self._module = module
        # From 3.10 on; before, only what is there when we come can be the genuine one.
        self._genuine = getattr(module, "__excepthook__", module.excepthook)

    def __set__(self, thread: "Thread", invoke: "Callable[[Any], None]") -> None:
        thread.__dict__[self._NAME] = invoke

    def __get__(self, thread: "Thread | None", owner: type) -> "Callable[[Any], None]":
        try:
            invoke: Callable[[Any], None] = thread.__dict__[self._NAME]
        except (AttributeError, KeyError):
            raise AttributeError(self._NAME) from None
        return lambda crashed: self._call(invoke, crashed)

    def _call(self, invoke: "Callable[[Any], None]", crashed: "Thread") -> None:
        crash = _hooks.crash_side()
        if crash is None:
            invoke(crashed)
        else:
            crash.thread(_hooks.output, self._module, self._genuine, invoke, crashed)
