"""The rows: every budget of the project, and alternatives."""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks import programs
from tests.benchmarks.environments import Environments, NotInstalled
from tests.benchmarks.instructions import InstructionBenchmarks
from tests.benchmarks.measure import (
    CRASH_FD,
    Failed,
    Figure,
    Reading,
    Stage,
    Variant,
    after_mark,
    between_marks,
    difference,
    of_medians,
    of_rounds,
    printed,
)
from tests.benchmarks.monitor import MonitorBenchmarks
from tests.benchmarks.reading import ReadingBenchmarks
from tests.benchmarks.table import Row, Series, ratio_row

ON = {"PYDEBUG": "crashfd=%d" % CRASH_FD}
NOTHING = ("-c", "pass")
PARTS = ("instruction", "start", "crash", "steady", "monitor", "reading")
_MOST_MODULES = 1
_MOST_MEMORY = 300  # KiB
# From 3.13 on the interpreter itself imports traceback to print an exception.
_TRACEBACK_IS_FREE = sys.version_info >= (3, 13)


class Benchmarks:
    """What all rows share: where programs run, the environments, the number of rounds."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self._stage = Stage(folder)
        self._environments = Environments(folder)
        self._installed = self._environments.create_with_crashenv("installed")
        # Without the caller's variables: PYTHON*, DD_* and SENTRY_* would affect the programs.
        self._variables = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
        }

    def budgets(self, parts: Sequence[str]) -> Iterator[Row]:
        for part in parts:
            yield from getattr(self, "_%s_rows" % part)()

    def _steady_rows(self) -> Iterator[Row]:
        for name, source in programs.STEADY.items():
            yield self._steady_row(name, source)

    def _monitor_rows(self) -> Iterator[Row]:
        return self._monitor().rows()

    def _reading_rows(self) -> Iterator[Row]:
        return self._reading().rows()

    def _instruction_rows(self) -> Iterator[Row]:
        return InstructionBenchmarks(self._folder, self._environments, self._installed).rows()

    def _reading(self) -> ReadingBenchmarks:
        return ReadingBenchmarks(
            self._folder, self._stage, self._installed, self._variables, self._rounds
        )

    def _monitor(self) -> MonitorBenchmarks:
        return MonitorBenchmarks(
            self._folder, self._stage, self._installed, self._variables, self._rounds
        )

    # --- programs

    def _environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**self._variables, **(changes or {})}

    def _program(self, name: str, source: str) -> str:
        """Write it to a file: a traceback shows the lines of a file, not those of ``-c``."""
        path = self._folder / (name + ".py")
        path.write_text(source)
        return str(path)

    def _crashing(self, command: Sequence[str], changes: Mapping[str, str]) -> Variant:
        """Check that it reports if, and only if, ``changes`` switch crashenv on."""
        environment = self._environment(changes)
        return Variant(command, environment, after_mark, status=1, reports="PYDEBUG" in changes)

    # --- starts

    def _start_rows(self) -> Iterator[Row]:
        variants = {
            name: Variant((self._installed, *NOTHING), self._environment(changes))
            for name, changes in (("on", ON), ("off", None))
        }
        readings = self._stage.interleave(variants, self._rounds)
        what = "start, `PYDEBUG=crashfd=3` / unset"
        yield ratio_row(what, 1.05, readings["on"], readings["off"])
        yield self._module_row()
        yield self._memory_row()

    def _module_row(self) -> Row:
        on, off = (set(self._output(programs.MODULES, changes).split()) for changes in (ON, None))
        added = on - off
        ours = {name for name in added if name.partition(".")[0] == "crashenv"}
        if not ours:
            raise Failed("PYDEBUG activated nothing")
        others = sorted(added - ours - {"faulthandler"})
        count = float(len(others))
        what = "modules that activation adds beyond crashenv's and `faulthandler`"
        names = ", ".join("`%s`" % name for name in others)
        return Row(what, _MOST_MODULES, Figure(count, count, count), unit="modules", note=names)

    def _output(self, source: str, changes: Mapping[str, str] | None) -> str:
        command = (self._installed, "-c", source)
        return self._stage.run(Variant(command, self._environment(changes))).output

    # --- crashes

    def _crash_rows(self) -> Iterator[Row]:
        """Measure from just before the ``raise`` until the parent knows of the end."""
        plain = self._program("crash", programs.CRASH)
        loaded = self._program("crash_with_traceback", programs.CRASH_WITH_TRACEBACK)
        cost = self._program("import_of_traceback", programs.IMPORT_OF_TRACEBACK)
        readings = self._stage.interleave(
            {
                "plain on": self._crashing((self._installed, plain), ON),
                "plain off": self._crashing((self._installed, plain), {}),
                "loaded on": self._crashing((self._installed, loaded), ON),
                "loaded off": self._crashing((self._installed, loaded), {}),
                "cost": Variant((self._installed, cost), self._environment(), between_marks),
            },
            self._rounds,
        )
        what = "unhandled exception to exit, on / off, "
        on, off = readings["loaded on"], readings["loaded off"]
        yield ratio_row(what + "`traceback` loaded", None, on, off)
        on, off = readings["plain on"], readings["plain off"]
        if _TRACEBACK_IS_FREE:
            yield ratio_row(what + "any program", None, on, off)
        else:
            yield ratio_row(what + "`traceback` not loaded", None, on, off)
            yield _cost_row(on, off, readings["cost"])

    # --- ordinary work

    def _steady_row(self, name: str, source: str) -> Row:
        """Compare with off / off: the same program against itself."""
        command = (self._installed, self._program("steady", source))
        variants = {
            which: Variant(command, self._environment(changes), between_marks)
            for which, changes in (("on", ON), ("off", {}), ("again", {}))
        }
        # Each run is some ten starts long.
        readings = self._stage.interleave(variants, max(10, self._rounds // 5))
        row = ratio_row(name + ", on / off", None, readings["on"], readings["off"])
        noise = ratio_row("", None, readings["again"], readings["off"])
        assert noise.figure is not None
        row.limit = max(1.0, noise.figure.high)
        row.note += "; off / off %.3f (%.3f to %.3f)" % noise.figure
        return row

    def _memory_row(self) -> Row:
        command = (self._installed, "-c", programs.MEMORY)
        readings = self._stage.interleave(
            {
                "on": Variant(command, self._environment(ON), printed),
                "off": Variant(command, self._environment(), printed),
            },
            self._rounds,
        )
        on, off = (Series.of(readings[name]) for name in ("on", "off"))
        figure = of_medians(difference, on.values, off.values)
        control = of_rounds(difference, on.controls, off.controls)
        note = "%d - %d" % (statistics.median(on.values), statistics.median(off.values))
        return Row("resident memory, on minus off", _MOST_MEMORY, figure, control, "KiB", note)

    # --- alternatives

    def alternatives(self) -> Iterator[Row]:
        for alternative in ALTERNATIVES:
            try:
                yield from self._alternative_rows(alternative)
            except NotInstalled as error:
                yield Row(alternative.name, note="not installed: %s" % error)
            except Failed as error:
                yield Row(alternative.name, note="does not run: %s" % str(error).splitlines()[0])

    def _alternative_rows(self, alternative: Alternative) -> Iterator[Row]:
        """Compare on and off in one environment, so that only the switch counts."""
        python = self._installed
        if alternative.requirement:
            python = self._environments.create(alternative.requirement, alternative.requirement)
        prefix = [str(Path(python).parent / name) for name in alternative.prefix]
        changes = dict(alternative.changes)
        if alternative.sitecustomize:
            place = self._folder / "injected" / alternative.requirement
            place.mkdir(parents=True)
            (place / "sitecustomize.py").write_text(alternative.sitecustomize)
            changes["PYTHONPATH"] = str(place)
        crash = self._program("crash_with_traceback", programs.CRASH_WITH_TRACEBACK)
        readings = self._stage.interleave(
            {
                "start on": Variant((*prefix, python, *NOTHING), self._environment(changes)),
                "start off": Variant((python, *NOTHING), self._environment()),
                "crash on": self._crashing((*prefix, python, crash), changes),
                "crash off": self._crashing((python, crash), {}),
            },
            max(10, self._rounds // 5),  # differences of 10 % and more
        )
        for kind, what in (("start", "start"), ("crash", "unhandled exception to exit")):
            on, off = readings[kind + " on"], readings[kind + " off"]
            yield ratio_row("%s: %s, on / off" % (alternative.name, what), None, on, off)


def _cost_row(on: Sequence[Reading], off: Sequence[Reading], cost: Sequence[Reading]) -> Row:
    """Return the additional cost, in units of one import of traceback."""
    series = [Series.of(readings) for readings in (on, off, cost)]

    def more(a: float, b: float, unit: float) -> float:
        return (a - b) / unit

    return Row(
        "the same, on minus off / the import of `traceback`",
        1.0,
        of_medians(more, *(s.values for s in series)),
        of_rounds(more, *(s.controls for s in series)),
        note="the import takes %.2f ms" % (1000 * statistics.median(series[2].values)),
    )


@dataclasses.dataclass(frozen=True)
class Alternative:
    """How the same program is run with another tool, without a change to its code.

    ``prefix`` is a command beside the interpreter that runs it; ``sitecustomize``
    is the source of a module of that name, if the tool is activated by one.
    """

    name: str
    requirement: str = ""
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prefix: Sequence[str] = ()
    sitecustomize: str = ""


ALTERNATIVES = (
    Alternative("`PYDEBUG=crashfd=3`", changes=ON),
    Alternative("`PYTHONFAULTHANDLER=1`", changes={"PYTHONFAULTHANDLER": "1"}),
    Alternative("better_exceptions", "better_exceptions", {"BETTER_EXCEPTIONS": "1"}),
    Alternative(
        "sentry-sdk",
        "sentry-sdk",
        sitecustomize="""\
import sentry_sdk
class Nowhere(sentry_sdk.Transport):
    def capture_envelope(self, envelope):
        pass
sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=Nowhere)
""",
    ),
    Alternative(
        "ddtrace-run",
        "ddtrace",
        # Nothing is sent, even if there is an agent. Its crash tracking, which sends,
        # starts another interpreter at a crash: this row leaves that out.
        {
            "DD_CRASHTRACKING_ENABLED": "false",
            "DD_TRACE_AGENT_URL": "unix:///nonexistent",
            "DD_TRACE_ENABLED": "false",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        },
        prefix=("ddtrace-run",),
    ),
)
