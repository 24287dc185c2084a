"""The page itself: an overview, a filter, and each kind of crash with its newest record.

Whole records are shown as long as the page stays small, those of the newest and of the most
frequent kinds first; the page says how many are left out.
"""

import base64
import hashlib
import pkgutil
import time

import crashenv
from crashenv._cli import times
from crashenv._cli.page.record import shown
from crashenv._reading import crashes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crashenv._cli.page.kinds import Kind
    from crashenv._cli.page.text import Writer

_MOST_BYTES = 6 << 20  # of whole records
_MOST_BYTES_OF_ROWS = 2500 << 10
_MOST_FREQUENT = 50  # kinds whose records are shown first
_EXCEPTIONS = ("exception", "thread", "process", "traceback")
_MOST_PROGRAMS = 200
_MOST_TIMES = 2000  # the newest times of a kind, for the filter
_BARS = 40
_HEIGHT, _WIDTH = 40, 208
_PAGE = """\
<!DOCTYPE html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta http-equiv=Content-Security-Policy content="%(policy)s">
<meta name=viewport content="width=device-width, initial-scale=1">
<meta name=referrer content=no-referrer>
<title>Crashes</title>
<style>%(style)s</style>
</head>
<body>
<a class=skip href="#kinds">Skip to the kinds of crash</a>
<header>
<h1>Crashes</h1>
<p>%(about)s</p>
</header>
<main>
<h2>Summary</h2>
<ul class=short>%(short)s</ul>
%(form)s
<h2>Kinds of crash</h2>
<p id=status role=status>%(status)s</p>
<div id=kinds>%(kinds)s</div>
%(more)s
</main>
<footer><p class=weak>%(end)s</p></footer>
<script>%(script)s</script>
</body>
</html>
"""
_FORM = """\
<form id=filter hidden aria-label="Filter">
<label>Text <input name=text type=search autocomplete=off></label>
<label>Program <select name=program><option value="">all</option>%s</select></label>
<label>Kind of report <select name=kind><option value="">all</option>%s</select></label>
<label>Since <input name=since type=datetime-local></label>
<label>Until <input name=until type=datetime-local></label>
<label>Order <select name=order><option value=time>newest first</option>
<option value=number>most frequent first</option></select></label>
<button type=reset>Show all</button>
</form>"""


def made(kinds: "Sequence[Kind]", writer: "Writer", tell: "Callable[[int], None]") -> str:
    """Return the whole page; ``tell`` is called with the number of kinds written."""
    bodies = _bodies(kinds, writer, tell)
    span = _span(kinds)
    rows, size = [], 0
    for number, kind in enumerate(kinds):
        row = _kind(kind, number, bodies.get(number, ""), span, writer)
        size += len(row) - len(bodies.get(number, ""))
        if size > _MOST_BYTES_OF_ROWS:
            break
        rows.append(row)
    style, script = _file("page.css"), _file("page.js")
    count = sum(kind.count for kind in kinds)
    return _PAGE % {
        "policy": _policy(style, script),
        "style": style,
        "about": _about(kinds, count),
        "short": _short(kinds[: len(rows)], writer),
        "form": _form(kinds, writer),
        "status": plural(len(rows), "kind") + " of crash shown",
        "kinds": "".join(rows),
        "more": _more(kinds, len(rows), len(bodies)),
        "end": _end(writer),
        "script": script,
    }


def _file(name: str) -> str:
    content = pkgutil.get_data("crashenv._cli.page", name)
    return (content or b"").decode()


def _policy(style: str, script: str) -> str:
    """Allow only our own style and script (Content Security Policy Level 3, 2.3.1)."""

    def source(text: str) -> str:
        return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    message = "default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'"
    return message % (source(style), source(script))


def _bodies(
    kinds: "Sequence[Kind]", writer: "Writer", tell: "Callable[[int], None]"
) -> "dict[int, str]":
    """Return the newest record of each kind, by the kind's number, as far as there is room."""
    frequent = sorted(range(len(kinds)), key=lambda n: kinds[n].count, reverse=True)
    ooms = [number for number, kind in enumerate(kinds) if kind.is_oom]
    first = dict.fromkeys([*ooms[:1], *frequent[:_MOST_FREQUENT], *range(len(kinds))])
    bodies: dict[int, str] = {}
    size = 0
    for done, number in enumerate(first):
        tell(done)
        record = crashes.whole(kinds[number].newest)
        if record is None:
            continue
        body = shown(record, writer)
        if size + len(body.encode()) > _MOST_BYTES:
            break
        bodies[number] = body
        size += len(body.encode())
    return bodies


def _about(kinds: "Sequence[Kind]", count: int) -> str:
    text = "%s of %s" % (plural(count, "crash", "crashes"), plural(len(kinds), "kind"))
    seconds = [when for kind in kinds for when in (kind.times[:1] + kind.times[-1:])]
    if seconds:
        text += ", from %s to %s" % (_moment(min(seconds)), _moment(max(seconds)))
    return text + ". Times are in the zone where the page was made (%s)." % time.strftime("UTC%z")


def plural(number: int, one: str, many: str = "") -> str:
    return "%d %s" % (number, one if number == 1 else many or one + "s")


def _moment(seconds: int) -> str:
    return times.local(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)))


def _short(kinds: "Sequence[Kind]", writer: "Writer") -> str:
    """Return links to the crashes that readers look for most often."""
    text = []
    raised = [n for n, kind in enumerate(kinds) if kind.newest["kind"] in _EXCEPTIONS]
    found = {
        "Newest": 0,
        "Most frequent exception": max(raised, key=lambda n: kinds[n].count, default=-1),
        "Newest out of memory": next((n for n, k in enumerate(kinds) if k.is_oom), -1),
    }
    for name, number in found.items():
        if 0 <= number < len(kinds):
            row = kinds[number].newest
            where = " at " + writer.inline(row["where"], 200) if row["where"] else ""
            if not where and row["program"]:
                where = " in " + writer.inline(row["program"], 200)
            text.append(
                '<li><b>%s:</b> <a href="#k%d-record">%s</a>%s</li>'
                % (name, number, writer.inline(row["summary"], 200), where)
            )
    return "".join(text)


def _form(kinds: "Sequence[Kind]", writer: "Writer") -> str:
    programs = dict.fromkeys(name for kind in kinds for name in kind.programs)
    sorts = dict.fromkeys(kind.newest["kind"] for kind in kinds)

    def options(names: "Sequence[str]") -> str:
        shown = [writer.inline(name) for name in sorted(names)]
        return "".join(['<option value="%s">%s</option>' % (name, name) for name in shown])

    return _FORM % (options(list(programs)[:_MOST_PROGRAMS]), options(list(sorts)[:20]))


def _kind(kind: "Kind", number: int, body: str, span: "tuple[int, int]", writer: "Writer") -> str:
    row = kind.newest
    seen = _moment(kind.last) if kind.times else "unknown"
    if len(kind.times) > 1:
        seen = "first %s, last %s" % (_moment(kind.times[0]), seen)
    names = [name.replace("\\", "/").rpartition("/")[2] or name for name in kind.programs]
    parts = [seen, _names(names), _names(list(kind.versions), "Python "), _names(list(kind.hosts))]
    about = " · ".join(writer.inline(part) for part in parts if part)
    where = '<span class="about where">%s</span>' % writer.inline(row["where"], 300)
    return (
        '<details class=kind id=k%d data-kind="%s" data-count="%d" data-times="%s" '
        'data-programs="%s">'
        "<summary><span class=count>%d<span aria-hidden=true>&times;</span></span>"
        "<span><span class=what>%s</span>%s<span class=about>%s</span></span>%s</summary>"
        "<div class=inside><h3 id=k%d-record>The newest record</h3>%s</div></details>\n"
    ) % (
        number,
        writer.inline(row["kind"]),
        kind.count,
        _times(kind.times),
        "&#10;".join(writer.inline(name) for name in kind.programs),
        kind.count,
        writer.inline(row["summary"], 300),
        where if row["where"] else "",
        about,
        _histogram(kind, span) if kind.times else "",
        number,
        body
        or "<p>Left out to keep this page small; see <code>crashenv show %s</code>.</p>"
        % writer.inline(row["id"][:8]),
    )


def _names(names: "Sequence[str]", before: str = "") -> str:
    text = ", ".join(names[:3])
    if len(names) > 3:
        text += " and %d more" % (len(names) - 3)
    return before + text if text else ""


def _times(times: "Sequence[int]") -> str:
    """Encode the times as gaps in base 36, which is short and is read by the script."""
    text, last = [], 0
    for when in times[-_MOST_TIMES:]:
        text.append(_base36(max(0, when - last)))
        last = when
    return " ".join(text)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"


def _span(kinds: "Sequence[Kind]") -> "tuple[int, int]":
    """Return the first and the last time of all, so that all histograms have the same scale."""
    seconds = [when for kind in kinds for when in (kind.times[:1] + kind.times[-1:])]
    return (min(seconds), max(seconds)) if seconds else (0, 0)


def _histogram(kind: "Kind", span: "tuple[int, int]") -> str:
    begin, end = span
    bars = [0] * _BARS
    for when in kind.times:
        bars[min(_BARS - 1, (when - begin) * _BARS // max(1, end - begin))] += 1
    most, width = max(bars), _WIDTH / _BARS
    # One path takes a quarter of the bytes of as many rectangles.
    path = ""
    for index, bar in enumerate(bars):
        if bar:
            height = max(2, (_HEIGHT - 1) * bar // most)
            path += "M%g %dv-%dh%gv%dz" % (index * width, _HEIGHT - 1, height, width - 1, height)
    return (
        '<svg viewBox="0 0 %d %d" role=img aria-label="over time, at most %d in %s">'
        '<path d="%s"/><line x1=0 y1=%d x2=%d y2=%d /></svg>'
    ) % (_WIDTH, _HEIGHT, most, _length((end - begin) / _BARS), path, _HEIGHT, _WIDTH, _HEIGHT)


def _length(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return "%.1f %s" % (seconds / size, unit)
    return "%.1f seconds" % seconds


def _more(kinds: "Sequence[Kind]", rows: int, bodies: int) -> str:
    text = ""
    if bodies < rows:
        text = "<p>Records are shown for %d kinds, the newest and the most frequent.</p>" % bodies
    if rows < len(kinds):
        left = kinds[rows:]
        text += "<p>%s, with %s, left out to keep this page small.</p>" % (
            plural(len(left), "more kind"),
            plural(sum(kind.count for kind in left), "crash", "crashes"),
        )
    return text


def _end(writer: "Writer") -> str:
    made = _moment(int(time.time()))
    text = "Made by crashenv %s on %s. " % (crashenv.__version__, made)
    if writer.redacts:
        return text + "Secrets found and removed: %d." % writer.replaced
    return text + "Nothing was removed from the records."
