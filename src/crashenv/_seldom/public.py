"""The public names, which are imported when they are asked for (PEP 562)."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = {
    "LogHandler": "_loghandler",
    "Pipe": "_listening",
    "Reader": "_listening",
    "activate": "_api",
    "note": "_seldom.family",
    "read": "_listening",
    "set_crash_output": "_api",
    "start_monitor": "_starting",
}


def attribute(package: "dict[str, Any]", name: str) -> "Any":
    """The attribute ``name`` of the package whose namespace is given. Raises AttributeError.

    Without a name, a list of all names.
    """
    if name in ("", "__all__"):
        return list(NAMES)
    if name not in NAMES:
        raise AttributeError("module %r has no attribute %r" % (package["__name__"], name))
    module = package["__name__"] + "." + NAMES[name]
    __import__(module)
    found = package[name] = getattr(sys.modules[module], name)
    return found
