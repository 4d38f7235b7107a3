"""The table of prices: a TOML file, with one table for each model, in US dollars for a million tokens.

    ["gpt-5.4-mini"]
    input = 0.75
    output = 4.50
    cache_read = 0.075

    ["nous/hermes-4-405b"]   # for this transport alone
    input = 1
    output = 3

It is read once, when the plan is made. Models that no agent asks may stand in it: one table serves many programs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..providers import Price, Problem, escaped, suggestion

VARIABLE = "LLM_PRICES"
_KINDS = tuple(field.name for field in fields(Price))
LARGEST = 256 * 1024
"""Bytes of a table that are read (chosen: two thousand models)."""

MOST = 1e9
"""Dollars below which a price is believed (chosen; a whole number of 5,000 digits is one too)."""

_PRICE = "a number of US dollars for a million tokens, 0 or more"


def price_table(path: Path | None) -> tuple[Mapping[str, Price], tuple[Problem, ...]]:
    """Return the price of each model by its name, and every mistake in the file."""
    if path is None:
        return {}, ()
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST):  # a pipe would be waited for
        return {}, (
            Problem(
                VARIABLE,
                "the path of a TOML file",
                f"{path.absolute()} is none, or larger than 256 KiB: mend it, or unset it",
            ),
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = error.strerror or type(error).__name__
        remedy = f"{path.absolute()}: {why}; mend its path or its permissions, or unset it"
        return {}, (Problem(VARIABLE, "the path of a TOML file that may be read", remedy),)
    except UnicodeDecodeError:
        return {}, (Problem(VARIABLE, "a TOML file in UTF-8", "save it as UTF-8"),)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, too
        return {}, (Problem(VARIABLE, "a TOML file with a table for each model", f"mend it: {escaped(str(error))}"),)
    problems: list[Problem] = []
    prices = {model: price for model, table in tables.items() if (price := _price(model, table, problems))}
    return prices, tuple(problems)


def price_of(prices: Mapping[str, Price], transport: str, model: str) -> Price | None:
    """Return the price of a model: what is set for it on this transport, or else anywhere."""
    return prices.get(f"{transport}/{model}") or prices.get(model)


def _price(model: str, table: Any, problems: list[Problem]) -> Price | None:
    where = f"{VARIABLE}, [{model!r}]"
    if not isinstance(table, dict):
        named = "model" if model in _KINDS else model
        remedy = f'write ["{escaped(named)}"] on a line of its own, and input = … and output = … below it'
        problems.append(Problem(where, "a table with the prices of one model", remedy))
        return None
    if (dotted := _dotted(model, table)) != model:
        problems.append(Problem(where, "the name of a model in quotes", f'write ["{escaped(dotted)}"]'))
        return None
    before = len(problems)
    for name in table:
        if name not in _KINDS:
            remedy = suggestion(name, _KINDS).lstrip("; ") or "remove it"
            problems.append(Problem(f"{where} {escaped(name)}", f"one of {', '.join(_KINDS)}", remedy))
        elif not _is_price(table[name]):
            problems.append(Problem(f"{where} {name}", _PRICE, "set it to that, or remove it"))
    problems += [Problem(f"{where} {name}", _PRICE, "set it") for name in ("input", "output") if name not in table]
    return Price(**table) if len(problems) == before else None


def _dotted(model: str, table: dict[str, Any]) -> str:
    """Return the name that was meant: a dot outside quotes begins a table within the table."""
    for name, within in table.items():
        if name not in _KINDS and isinstance(within, dict):
            return f"{model}.{_dotted(name, within)}" if model != "models" else _dotted(name, within)
    return model


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST
