"""``--metrics``: metrics for Prometheus, in a file for node_exporter's textfile collector.

Names and types follow https://prometheus.io/docs/practices/naming/, the text follows
"Exposition formats", version 0.0.4. Counters continue from the values in the file: a
crashing program that is restarted each second would otherwise always have the count 1.
"""

import os
from time import monotonic, time

from crashenv._monitor import files, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crashenv._monitor.receivers import WaitUntil
    from crashenv._sinks.marks import Marks
    from crashenv.records import Record

_LEAST_PAUSE = 1.0  # seconds between two writes
_MOST_SERIES = 500  # of one name; further crashes are counted for the program "other"
_MOST_BYTES = 1 << 20
_OTHER = "other"
_CRASHES = "crashenv_crashes_total"
_CUT = "crashenv_reports_cut_total"
_LOST = "crashenv_reports_lost_total"
_UNKEPT = "crashenv_reports_unkept_total"
_SENT = "crashenv_sink_crashes_total"
_WAITING = "crashenv_sink_waiting"
_LAST = "crashenv_last_crash_timestamp_seconds"
# name: (type, help)
_METRICS = {
    _CRASHES: ("counter", "Crashes, by kind of report, signal and program."),
    _CUT: ("counter", "Reports with a part missing."),
    _LOST: ("counter", "Reports that came too fast and were left out."),
    _UNKEPT: ("counter", "Reports that the store could not keep."),
    _SENT: ("counter", "Crashes by sink and result of sending."),
    _WAITING: ("gauge", "Crashes that wait to be sent, by sink."),
    _LAST: ("gauge", "When the newest crash was reported, in seconds since 1970."),
}


class Metrics:
    """Keeps the file ``path``; the marks of the ``sinks`` in the store say what was sent."""

    def __init__(self, path: str, sinks: "Sequence[tuple[str, Marks]]" = ()) -> None:
        self._path = path
        self._sinks = sinks
        self._values: dict[str, dict[str, float]] = {name: {} for name in _METRICS}
        for name, labels, value in _read(path):
            if name in _METRICS and len(self._values[name]) < _MOST_SERIES:
                self._values[name][labels] = value
        for name in (_CUT, _LOST, _UNKEPT):
            self._values[name].setdefault("", 0)
        self.deadline: float | None = None
        self.work()

    def take(self, record: "Record", content: bytes, path: str) -> None:
        dump = record.get("dump")
        ending = record.get("ending") if record["kind"] == "death" else None
        signal = (ending and ending["signal"]) or (dump and dump["signal"]) or ""
        place = (record["program"] or "").replace("\\", "/")
        program = place.rpartition("/")[2] or place
        labels = _labels(kind=record["kind"], signal=signal, program=program)
        if labels not in self._values[_CRASHES] and len(self._values[_CRASHES]) >= _MOST_SERIES:
            program = _OTHER
            labels = _labels(kind=_OTHER, signal="", program=program)
        self._add(_CRASHES, labels, 1)
        self._add(_CUT, "", 1 if record["omitted"] or record["damage"] else 0)
        self._add(_LOST, "", record.get("lost", 0))
        self._add(_UNKEPT, "", 0 if path else 1)
        self._values[_LAST][_labels(program=program)] = round(time(), 3)
        self._write_soon()

    def _write_soon(self) -> None:
        if self.deadline is None:
            self.deadline = max(monotonic(), self._written + _LEAST_PAUSE)

    def _add(self, name: str, labels: str, more: int) -> None:
        values = self._values[name]
        values[labels] = values.get(labels, 0) + more

    def work(self) -> None:
        self.deadline = None
        self._written = monotonic()
        self._look_at_sinks()
        files.replace(self._path, self._text())

    def _look_at_sinks(self) -> None:
        for name in (_SENT, _WAITING):
            self._values[name] = {}
        for sink, marks in self._sinks:
            marks.load()
            for mark, count in marks.counts.items():
                self._values[_SENT][_labels(sink=sink, result=mark)] = count
            try:
                waiting = 0 if marks.is_new else len(marks.waiting())
            except OSError:  # no store yet
                waiting = 0
            self._values[_WAITING][_labels(sink=sink)] = waiting

    def child_ended(self, pid: int, status: int) -> None:
        if self._sinks:  # it may be the sender
            self._write_soon()

    def finish(self, wait_until: "WaitUntil") -> None:
        self.work()

    def _text(self) -> str:
        lines = []
        for name, (kind, text) in _METRICS.items():
            lines += ["# HELP %s %s" % (name, text), "# TYPE %s %s" % (name, kind)]
            for labels, value in self._values[name].items():
                shown = "%d" % value if value == int(value) else repr(value)
                lines.append("%s%s %s" % (name, labels, shown))
        return "".join(line + "\n" for line in lines)


def _labels(**values: str) -> str:
    """Return ``{kind="exception"}``, with backslashes and quotation marks escaped."""
    message = []
    for name, value in values.items():
        text = printable(value).replace("\\", "\\\\").replace('"', '\\"')
        message.append('%s="%s"' % (name, text))
    return "{%s}" % ",".join(message)


def _read(path: str) -> "Iterator[tuple[str, str, float]]":
    """Yield what an earlier monitor wrote, and ignore everything else."""
    if not os.path.isfile(path):  # to open a FIFO would wait for its writer
        return
    try:
        with open(path, "rb") as file:
            lines = file.read(_MOST_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return
    for line in lines[:-1]:
        series, _, value = line.rpartition(" ")
        name, brace, labels = series.partition("{")
        try:
            number = float(value)
        except ValueError:
            continue
        if 0 <= number < 1e15:  # neither NaN nor infinite
            yield name, brace + labels, number
