"""The headers of an answer that are read, without our secrets: servers quote keys in headers, too. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, final

from ._judge_nous import BUDGET_HEADERS

READ = frozenset(
    {"content-type", "date", "request-id", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"}
    | BUDGET_HEADERS
)
"""The headers of an answer that are read, in lower case."""

_READ = {name.encode() for name in READ}

_PLAIN = {
    kind.encode(): kind
    for name in ("application/json", "text/event-stream")
    for kind in (name, f"{name}; charset=utf-8", f"{name};charset=utf-8")
}
"""Values that nearly every answer has: nothing of theirs is a secret."""


@final
class Cleaned(Mapping[str, str]):
    """Headers by their names in lower case; a value is decoded and cleaned when it is asked for."""

    __slots__ = ("_by_name", "_clean")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._by_name: dict[str, list[bytes]] = {}
        for name, value in headers:
            lower = name.lower()
            if lower in _READ:
                self._by_name.setdefault(lower.decode("ascii"), []).append(value)

    def get_list(self, name: str) -> list[str]:
        """Return each value of a name."""
        return [_PLAIN.get(value) or self._clean(_text(value)) for value in self._by_name.get(name, ())]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the values of a name together; faster than what `Mapping` has."""
        return ", ".join(self.get_list(name)) if name in self._by_name else default

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> str:
        if name not in self._by_name:
            raise KeyError(name)
        return ", ".join(self.get_list(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
