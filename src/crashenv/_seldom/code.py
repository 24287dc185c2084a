"""Get a module's code from its loader, if its ``.pyc`` file cannot be read directly."""

from _frozen_importlib import _find_spec  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def of(package: "Any", name: str) -> "Any":
    """Return the code from source, a zip file, or a folder of only ``.pyc`` files.

    ``package`` is the spec of the package. This may raise any exception.
    """
    qualified = package.name + "." + name
    return _find_spec(qualified, package.submodule_search_locations).loader.get_code(qualified)
