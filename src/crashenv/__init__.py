"""crashenv: every crash of a Python program, on one more descriptor or file.

``PYDEBUG=crashfd=3 python app.py 3>crash.log`` needs no code. From code:

    import crashenv
    crashenv.set_crash_output(open("crash.log", "a"))
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._api import set_crash_output

__all__ = ["set_crash_output"]
__version__ = "0.1.0"


def __getattr__(name: str) -> "Any":
    # PEP 562. The bootstrap, which every start pays for, imports the package too.
    if name == "set_crash_output":
        from crashenv._api import set_crash_output

        return set_crash_output
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
