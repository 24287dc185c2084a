"""Which interpreter this is."""

import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal


def is_main() -> bool:
    if hasattr(_thread, "_is_main_interpreter"):  # 3.12 and later
        return bool(_thread._is_main_interpreter())
    try:
        _signal.signal(0, _signal.SIG_DFL)
    except ValueError as error:
        # "signal number out of range", or before that "signal only works in main thread of
        # the main interpreter".
        if "main interpreter" not in str(error):
            return True
    threading = sys.modules.get("threading")
    return threading is not None and threading.main_thread().ident != _thread.get_ident()
