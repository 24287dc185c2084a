"""A module's code where no ``.pyc`` of its own can be read directly: it comes from the loader."""

from _frozen_importlib import _find_spec  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def of(package: "Any", name: str) -> "Any":
    """From source, a zip file, or a folder of ``.pyc`` files alone. May raise anything.

    ``package`` is the spec of the package.
    """
    qualified = package.name + "." + name
    return _find_spec(qualified, package.submodule_search_locations).loader.get_code(qualified)
