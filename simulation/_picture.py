"""A report as a picture: one SVG file that needs nothing else, for light and dark screens. Pure.

Above, who served each agent; below, what stood against each model; behind both, the outages; time runs to the right.
Colours are those of Okabe and Ito, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/); what
a colour says is also said by a shape or a word. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import final
from xml.sax.saxutils import escape

from ._outages import as_time
from ._report import FAILED, AgentReport, ModelReport, Report, Span, State

WIDTH, LEFT, RIGHT = 960, 216, 936
"""The picture, and where its time begins and ends, in pixels."""
TOP, AGENT_ROW, MODEL_ROW, LANE = 100, 38, 42, 18
LETTER = 6.6
"""The width of a letter of 12 pixels, at most on average (measured on sans-serif fonts)."""
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two marks of the axis; the first of these is taken that makes at most ten."""

STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
.paper{fill:#fff}.title{font-size:16px;font-weight:600}.head{font-weight:600}.dim{fill:#59636e;font-size:11px}
.grid{stroke:#d1d9e0}.track{fill:#eff2f5}.mark{fill:#1f2328}.probe{stroke:#1f2328;stroke-width:1.5}
.outage{fill:#cf222e;fill-opacity:.08}.hit{fill:#cf222e;fill-opacity:.16}.edge{stroke:#cf222e;stroke-dasharray:3 3}
.number{fill:#cf222e;font-weight:600}.r0{fill:#0072b2}.r1{fill:#e69f00}.r2{fill:#009e73}.r3{fill:#cc79a7}
.nobody{fill:url(#nobody);stroke:#cf222e}.cross{stroke:#cf222e;stroke-width:2}.closed{fill:#009e73}
.half-open{fill:#56b4e9}.open{fill:#d55e00}.held{fill:#cc79a7}.on{fill:#000;font-size:11px}.on0{fill:#fff;font-size:11px}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.dim{fill:#9198a1}.grid{stroke:#30363d}
.track{fill:#21262d}.mark{fill:#e6edf3}.probe{stroke:#e6edf3}.outage{fill:#ff7b72;fill-opacity:.1}
.hit{fill:#ff7b72;fill-opacity:.22}.edge{stroke:#ff7b72}.number{fill:#ff7b72}.nobody{stroke:#ff7b72}
.cross{stroke:#ff7b72}.on{fill:#000}.on0{fill:#fff}}
"""

PATTERN = (
    '<pattern id="nobody" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="cross" d="M0 0V6"/></pattern>'
)


def draw(report: Report) -> str:
    """Return the report as the text of an SVG file."""
    return _Picture(report).whole()


@final
class _Picture:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._circuits = TOP + AGENT_ROW * len(report.agents) + 28
        self._axis = self._circuits + MODEL_ROW * len(report.models) + 4
        self._legend = self._axis + 46

    def whole(self) -> str:
        body = [*self._head(), *self._grid(), *self._outages(), *self._agents(), *self._models()]
        legend, height = self._legend_and_height()
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                f'viewBox="0 0 {WIDTH} {height}" role="img">',
                f"<title>{_safe(self._title)}</title>",
                f"<style>{STYLE}</style>",
                f"<defs>{PATTERN}</defs>",
                f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
                *body,
                *legend,
                "</svg>\n",
            ]
        )

    @property
    def _title(self) -> str:
        report = self._report
        agents, outages = _many(len(report.agents), "agent"), _many(len(report.outages), "outage")
        return f"Understudy: {agents} through {outages} in {as_time(report.duration)}"

    def _x(self, at: float) -> float:
        share = min(max(at / self._report.duration, 0.0), 1.0)
        return LEFT + (RIGHT - LEFT) * share

    def _head(self) -> Iterator[str]:
        report = self._report
        yield _text(24, 34, self._title, "title")
        asked = f"{_many(report.requests, 'request')}, one each {as_time(report.every)} from each agent"
        failed = f"{len(report.failed)} failed" if report.failed else "all answered"
        slowest = f"the slowest took {as_time(report.longest_wait)}"
        yield _text(24, 56, f"{asked}: {failed}; {slowest}; seed {report.seed}", "dim")
        yield _text(24, TOP - 14, "who served", "head")
        yield _text(24, self._circuits - 8, "circuits", "head")

    def _outages(self) -> Iterator[str]:
        """The bands behind everything, numbered where there is room for it, and darker where they hit."""
        free = 0.0
        for number, (since, until) in sorted(enumerate(self._edges(), start=1), key=lambda one: (one[1][0], one[0])):
            outage = self._report.outages[number - 1].outage
            yield _rect(since, TOP - 4, until - since, self._axis - TOP + 4, "outage", title=f"{number}: {outage.text}")
            for x in (since, until):
                yield f'<path class="edge" d="M{_n(x)} {TOP - 4}V{_n(self._axis)}"/>'
            for row, model in enumerate(self._report.models):
                if outage.hits(model.endpoint, model.model):
                    yield _rect(since, self._circuits + MODEL_ROW * row + 2, until - since, MODEL_ROW - 8, "hit")
            free = max(free + 8 + LETTER * len(str(number)), since + 3)
            yield _text(min(free, WIDTH - 20), TOP - 8, str(number), "number")

    def _edges(self) -> Iterator[tuple[float, float]]:
        for one in self._report.outages:
            yield self._x(one.outage.since), self._x(one.outage.until)

    def _grid(self) -> Iterator[str]:
        duration = self._report.duration
        step = next((step for step in TICKS if duration / step <= 10), TICKS[-1] * (1 + duration // (10 * TICKS[-1])))
        for number in count():
            if number * step > duration:
                return
            x = _n(self._x(number * step))
            yield f'<path class="grid" d="M{x} {TOP - 4}V{_n(self._axis + 4)}"/>'
            yield _text(float(x), self._axis + 18, as_time(number * step), "dim", anchor="middle")

    def _agents(self) -> Iterator[str]:
        for row, agent in enumerate(self._report.agents):
            y = TOP + AGENT_ROW * row + 12
            yield _label(y + 13, agent.name)
            yield _rect(LEFT, y, RIGHT - LEFT, LANE, "track")
            for span in agent.spans:
                yield from self._served(span, agent, y)
            for at in agent.handed_over_at:
                yield _mark(self._x(at), y - 2, f"{agent.name} handed over at {as_time(at)}")
            for at in agent.returned_at:
                yield _mark(self._x(at), y - 2, f"{agent.name} returned to its primary at {as_time(at)}", up=True)

    def _served(self, span: Span, agent: AgentReport, y: float) -> Iterator[str]:
        x, end = self._x(span.since), self._x(span.until)
        told = f"{span.what}, {as_time(span.since)} to {as_time(span.until)}, {_many(span.requests, 'request')}"
        if span.what == FAILED:
            yield _rect(x, y, end - x, LANE, "nobody", title=told)
            return
        colour = _colour(agent.routes.index(span.what))
        yield _rect(x, y, end - x, LANE, colour, title=told)
        yield from _inside(x, end, y, span.what, "on0" if colour == "r0" else "on")

    def _models(self) -> Iterator[str]:
        for row, model in enumerate(self._report.models):
            y = self._circuits + MODEL_ROW * row + 10
            yield _label(y + 7, model.model)
            calls = f"{_many(model.calls, 'call')}, {model.calls_in_outages} in outages"
            yield _label(y + 21, _short(model.endpoint), "dim", 31, title=f"{model.endpoint}: {calls}")
            for span in model.states:
                yield from self._state(span, y)
            yield from self._probes(model, y)

    def _state(self, span: Span, y: float) -> Iterator[str]:
        """A line while closed, half a lane while half-open, all of it while open or held."""
        x, end = self._x(span.since), self._x(span.until)
        above, height = {State.CLOSED: (7, 4), State.HALF_OPEN: (4, 10)}.get(State(span.what), (0, LANE))
        told = f"{span.what}, {as_time(span.since)} to {as_time(span.until)}"
        yield _rect(x, y + above, max(end - x, 2), height, span.what, title=told)
        if height == LANE:
            yield from _inside(x, end, y, span.what, "on")

    def _probes(self, model: ModelReport, y: float) -> Iterator[str]:
        for at in model.probes:
            line = f'<path class="probe" d="M{_n(self._x(at))} {_n(y - 5)}v{LANE + 10}">'
            yield f"{line}<title>probe at {as_time(at)}</title></path>"

    def _legend_and_height(self) -> tuple[list[str], int]:
        routes = max(len(agent.routes) for agent in self._report.agents)
        roles = ["primary", *("fallback" if n == 1 else f"fallback {n}" for n in range(1, routes))]
        swatches = [(_colour(n), role) for n, role in enumerate(roles[:4])]
        swatches += [("nobody", "nobody: the request failed"), ("down", "handed over"), ("up", "returned")]
        states = [(str(state), str(state)) for state in State] + [("probe", "probe"), ("hit", "outage")]
        lines = [*_legend_row(self._legend, swatches), *_legend_row(self._legend + 22, states)]
        y = self._legend + 48
        for number, one in enumerate(self._report.outages, start=1):
            lines += [_text(24, y, str(number), "number"), _text(44, y, _cut(one.outage.text, 120))]
            y += 18
        return lines, y + 6


def _legend_row(y: float, items: Iterable[tuple[str, str]]) -> Iterator[str]:
    x = 24.0
    for kind, words in items:
        match kind:
            case "down" | "up":
                yield _mark(x + 7, y + 5, words, up=kind == "up")
            case "probe":
                yield f'<path class="probe" d="M{_n(x + 7)} {_n(y - 7)}v14"/>'
            case State.CLOSED:
                yield _rect(x, y - 2, 14, 4, kind)
            case State.HALF_OPEN:
                yield _rect(x, y - 4, 14, 8, kind)
            case _:
                yield _rect(x, y - 7, 14, 14, kind)
        yield _text(x + 20, y + 4, words)
        x += 20 + LETTER * len(words) + 18


def _rect(x: float, y: float, width: float, height: float, style: str, *, title: str = "") -> str:
    inside = f"><title>{_safe(title)}</title></rect>" if title else "/>"
    return f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.5))}" height="{_n(height)}"{inside}'


def _text(x: float, y: float, words: str, style: str = "", *, anchor: str = "") -> str:
    more = (f' class="{style}"' if style else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{_n(x)}" y="{_n(y)}"{more}>{_safe(words)}</text>'


def _label(y: float, words: str, style: str = "", letters: int = 28, *, title: str = "") -> str:
    return f"<g><title>{_safe(title or words)}</title>{_text(24, y, _cut(words, letters), style)}</g>"


def _inside(x: float, end: float, y: float, words: str, style: str) -> Iterator[str]:
    """Words in a lane, or what follows their transport, if they have room there."""
    for shorter in (words, words.partition("/")[2]):
        if shorter and LETTER * len(shorter) + 10 <= end - x:
            yield _text((x + end) / 2, y + 13, shorter, style, anchor="middle")
            return


def _mark(x: float, y: float, title: str, *, up: bool = False) -> str:
    """A triangle above a lane, its foot at `y`: down for a hand-over, up for a return."""
    path = f"M{_n(x - 5)} {_n(y)}h10l-5 -9z" if up else f"M{_n(x - 5)} {_n(y - 9)}h10l-5 9z"
    return f'<path class="mark" d="{path}"><title>{_safe(title)}</title></path>'


def _colour(route: int) -> str:
    return f"r{min(route, 3)}"


def _short(endpoint: str) -> str:
    """An endpoint without what all have."""
    return endpoint.replace(" at https://", " at ").replace(" at http://", " at ")


def _many(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else f"{words[: letters - 1]}…"


def _safe(words: str) -> str:
    """Words as they may stand in XML, which knows no control characters."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in words))


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
