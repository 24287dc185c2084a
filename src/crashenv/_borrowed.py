"""The crash output of a sub-interpreter, which is the process's."""

from crashenv._output import CrashOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crashenv._descriptor import PrivateCopy


class BorrowedOutput(CrashOutput):
    """Holds no descriptor between reports: sub-interpreters come and go by the thousand."""

    def _open(self) -> None:
        pass

    def begin_report(self) -> "PrivateCopy | None":
        return self._new_copy()

    def end_report(self, copy: "PrivateCopy") -> None:
        copy.close()
