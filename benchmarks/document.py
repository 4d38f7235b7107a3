"""What of `docs/performance.md` is made from what was measured: tables, and the machine and versions they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .tables import Table, gateway_tables, markdown, own_tables, peer_tables

QUICK = "**From a quick run of a few calls: they show no more than that all of it works.**"


COMMANDS = {
    "bench": "python -m benchmarks library",
    "peers": "python -m benchmarks.peers libraries",
    "gateway": "python -m benchmarks gateway",
    "gateways": "python -m benchmarks.peers gateways",
}
"""What measures each part of the record."""


def setting(about: Mapping[str, Any], command: str) -> str:
    """Say what measured figures and when, of how many rounds they are medians, and what machine and which versions
    they are from. A record that was made before dates and rounds were kept has none.
    """
    when = f" on {about['date']}" if "date" in about else ""
    rounds = f", medians of {_rounds(*about['rounds'])}" if "rounds" in about else ""
    packages = [f"{name} {version}" for name, version in about["versions"].items()]
    machine = f"{about['machine']}, {about['cores']} cores, {about['system']}; Python {about['python']}"
    said = f"Measured{when} with `{command}`{rounds}. {'; '.join([machine, *filter(None, [', '.join(packages)])])}."
    return f"{said} {QUICK}" if about["quick"] else said


def _rounds(fewest: int, most: int) -> str:
    if fewest == most:
        return f"{most} round{'s' if most > 1 else ''}"
    return f"{fewest} to {most} rounds"


TABLES: dict[str, Callable[[Mapping[str, Any]], list[Table]]] = {
    "bench": own_tables,
    "peers": lambda part: peer_tables(part["rows"]),
    "gateway": lambda part: gateway_tables(part["gateway"]),
    "gateways": lambda part: gateway_tables(part["rows"], "peer"),
}
"""The tables of each part of the record."""

MARKS = {"bench": "figures"}
"""What a part is called in the document, where that is another name."""


def parts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands between the marks of each part."""
    return {
        MARKS.get(name, name): "\n\n".join(
            [setting(record[name]["about"], command), *map(markdown, TABLES[name](record[name]))]
        )
        for name, command in COMMANDS.items()
        if name in record
    }


def written(text: str, record: Mapping[str, Any]) -> str:
    """Return a document with what was measured between its marks.

    Raises:
        ValueError: It has no marks for a part.
    """
    for name, made in parts(record).items():
        mark, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(mark)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"the document has no marks for {name}")
        text = f"{before}{mark}{made}\n\n{end}{after}"
    return text
