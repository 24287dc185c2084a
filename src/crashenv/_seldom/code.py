"""A module's code where no ``.pyc`` of its own can be read directly: it comes from the loader."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def of(package: "Any", name: str) -> "Any":
    """From source, a zip file, or a folder of ``.pyc`` files alone. May raise anything.

    ``package`` is the spec of the package.
    """
    qualified = package.name + "." + name
    loader = package.loader
    if hasattr(loader, "path"):  # a file's loader is for one module
        loader = type(loader)(qualified, loader.path.replace("__init__", name))
    return loader.get_code(qualified)
