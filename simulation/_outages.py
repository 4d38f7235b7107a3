"""Outages as people write them, `openai 503 from 10s for 1m`, read into phases of a script. Pure.

    OUTAGE  a TARGET and a FAULT, then in any order: from TIME, for TIME, on MODEL
    TARGET  a transport (all its endpoints), a base URL, or an endpoint's name: TRANSPORT at BASE-URL
    FAULT   a status (also `429 retry-after 30`), hang, reset, refused, or slow TIME; before it a SHARE such as 50%
    TIME    500ms, 10s, 2m, 1h, 1h30m

Without `from` an outage begins at once, without `for` it never ends, without `on` it is one of every model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

from ..providers import Problem, Target, normalised, suggestion
from ._script import Answer, Behaviour, Hang, Phase, Refused, Reset, Status

LATENCY, REFUSED_AFTER = 1.0, 0.1
"""Seconds until a simulated model has answered, and until it has refused (chosen: a short answer, and a round trip)."""

TIME = "a duration such as 500ms, 10s, 2m or 1h30m"
_FAULT = "a fault: a status from 400 to 599, hang, reset, refused or slow TIME"
_CLAUSE = "from TIME, for TIME or on MODEL"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONG_UNIT = re.compile(r"(h)(?:ou)?rs?|(m)in(?:ute)?s?|(s)ec(?:ond)?s?")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")
_USUAL = ("400", "401", "402", "403", "404", "408", "413", "422", "429", "500", "502", "503", "504", "529")


@final
@dataclass(frozen=True, slots=True)
class Outage:
    """One outage. `endpoints` are the names of those it hits; `since` and `until` are seconds since the beginning."""

    text: str
    endpoints: tuple[str, ...]
    behaviour: Behaviour
    share: float = 1.0
    since: float = 0.0
    until: float = math.inf
    model: str | None = None

    def hits(self, endpoint: str, model: str) -> bool:
        """Say whether a model is hit there."""
        return endpoint in self.endpoints and self.model in {None, model}

    @property
    def phase(self) -> Phase:
        """The outage as a phase of a script."""
        return Phase(self.behaviour, self.model, self.since, self.until, share=self.share)


@final
@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint that an outage can hit, and the models that are asked there."""

    target: Target
    models: tuple[str, ...]


class _Wrong(Exception):
    """What was expected, and how to mend it."""

    def __init__(self, expected: str, remedy: str) -> None:
        self.expected, self.remedy = expected, remedy


def seconds(text: str) -> float | None:
    """Return a duration in seconds; None if it is none that is above 0."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    units = [unit for _, unit in parts]
    if not parts or "".join(map("".join, parts)) != text or units != [unit for unit in _UNITS if unit in units]:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return total if 0 < total < 1e9 else None


def as_time(length: float) -> str:
    """Return a duration as it is written: 1h30m, 2m, 7.5s. Rounded to a tenth of a second; of the ends `0s` too."""
    tenths = round(length * 10)
    hours, tenths = divmod(tenths, 36000)
    minutes, tenths = divmod(tenths, 600)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{tenths / 10:g}s" if tenths else ""]
    return "".join(parts) or "0s"


def near_time(text: str) -> str:
    """Return "did you mean …?" for what is nearly a duration, else the remedy."""
    joined = "".join(text.lower().split()).rstrip(".")
    for near in (f"{text}s", joined, _LONG_UNIT.sub(r"\1\2\3", joined)):
        if seconds(near) is not None:
            return f"did you mean {near!r}?"
    return "give one above 0" if text.startswith(("0", "-")) else "give one"


def read_outages(texts: Iterable[str], places: Mapping[str, Place]) -> tuple[tuple[Outage, ...], list[Problem]]:
    """Return the outages, and what is wrong with those that are none.

    Args:
        places: Every endpoint by its name.
    """
    outages, problems = list[Outage](), list[Problem]()
    for text in texts:
        try:
            outages.append(_Reader(text, places).outage())
        except _Wrong as wrong:
            problems.append(Problem(f"outage {text!r}", wrong.expected, wrong.remedy))
    return tuple(outages), problems


@final
class _Reader:
    """Reads one outage, word by word."""

    def __init__(self, text: str, places: Mapping[str, Place]) -> None:
        self._text, self._places, self._words = text, places, text.split()

    def outage(self) -> Outage:
        endpoints = self._target()
        share, behaviour = self._share(), self._behaviour()
        since, length, model = self._clauses()
        if model is not None:
            self._check_model(model, endpoints)
        if isinstance(behaviour, Refused) and (share < 1 or model is not None):
            raise _Wrong("no share and no model with refused", "nobody listens, for whatever is asked: try reset")
        return Outage(self._text, endpoints, behaviour, share, since, since + length, model)

    def _next(self) -> str | None:
        return self._words.pop(0) if self._words else None

    def _target(self) -> tuple[str, ...]:
        known = {target.transport for target in self._targets} | {target.base_url for target in self._targets}
        wanted = self._next() or ""
        if self._words[:1] == ["at"]:
            wanted = " ".join([wanted, *self._words[:2]])
            del self._words[:2]
            if self._words and self._words[0].startswith("#"):
                wanted += f" {self._words.pop(0)}"
            known = set(self._places)
        found = tuple(name for name, place in self._places.items() if _fits(wanted, name, place.target))
        if not found:
            near = suggestion(wanted, known).lstrip("; ") or "name one of them first"
            raise _Wrong(f"a target: {', '.join(sorted(known))}", near)
        return found

    @property
    def _targets(self) -> list[Target]:
        return [place.target for place in self._places.values()]

    def _share(self) -> float:
        if not self._words or not self._words[0].endswith("%"):
            return 1.0
        word = self._words.pop(0)
        share = _SHARE.fullmatch(word)
        if share is None or not 0 < float(share[1]) <= 100:
            raise _Wrong("a share above 0% and up to 100%", f"{word!r} is none")
        return float(share[1]) / 100

    def _behaviour(self) -> Behaviour:
        word = self._next()
        match word:
            case None:
                raise _Wrong(_FAULT, "say what goes wrong")
            case "hang":
                return Hang()
            case "reset":
                return Reset(REFUSED_AFTER)
            case "refused":
                return Refused()
            case "slow":
                return Answer(None, self._time("slow"))
            case _ if re.fullmatch(r"[45]\d\d", word):
                return Status(int(word), REFUSED_AFTER, self._hint())
            case _:
                near = suggestion(word.lower(), ("hang", "reset", "refused", "slow", *_USUAL)).lstrip("; ")
                raise _Wrong(_FAULT, near or f"{word!r} is none")

    def _hint(self) -> dict[str, str]:
        if self._words[:1] != ["retry-after"]:
            return {}
        self._words.pop(0)
        if self._words and self._words[0].isdecimal():
            return {"retry-after": self._words.pop(0)}
        return {"retry-after": f"{self._time('retry-after'):g}"}

    def _time(self, what: str) -> float:
        word = self._next()
        found = None if word is None else seconds(word)
        if found is None:
            raise _Wrong(f"{TIME} after {what!r}", self._near_time(word))
        return found

    def _near_time(self, word: str | None) -> str:
        """Return what `near_time` does; of `10 minutes` both words are meant."""
        if word is None:
            return "give one"
        unit = self._words[0] if self._words and self._words[0].isalpha() else ""
        both = near_time(f"{word} {unit}")
        return both if unit and both.endswith("?") else near_time(word)

    def _clauses(self) -> tuple[float, float, str | None]:
        given = dict[str, float | str]()
        while (word := self._next()) is not None:
            if word not in {"from", "for", "on"}:
                known = ("from", "for", "on", "retry-after")
                near = suggestion(word, known).lstrip("; ") or f"{word!r} is not understood"
                raise _Wrong(_CLAUSE, near)
            if word in given:
                raise _Wrong(f"{word!r} once", "leave one out")
            given[word] = self._model() if word == "on" else self._start() if word == "from" else self._time(word)
        model = given.get("on")
        return float(given.get("from", 0)), float(given.get("for", math.inf)), None if model is None else str(model)

    def _start(self) -> float:
        if self._words[:1] in (["0"], ["0s"]):
            self._words.pop(0)
            return 0.0
        return self._time("from")

    def _model(self) -> str:
        word = self._next()
        if word is None:
            raise _Wrong("the name of a model after 'on'", "give one")
        return word

    def _check_model(self, model: str, endpoints: tuple[str, ...]) -> None:
        known = {known for name in endpoints for known in self._places[name].models}
        if model not in known:
            near = suggestion(model, known).lstrip("; ") or f"{model!r} is not asked there"
            raise _Wrong(f"a model: {', '.join(sorted(known))}", near)


def _fits(wanted: str, name: str, target: Target) -> bool:
    transport = target.transport
    return (
        wanted in {name, target.name} or wanted.lower() == transport or normalised(transport, wanted) == target.base_url
    )
