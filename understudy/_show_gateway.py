"""What `understudy check` shows of the gateway: a table for people, a plain dict for programs. Never the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ._reach import PORT, Reach
from .gateway import GatewayToken


def reach_as_json(reach: Reach) -> dict[str, Any]:
    """Return how a gateway is reached as a dict."""
    access = reach.access
    return {
        "host": reach.host,
        "port": PORT,
        "token": _token_as_json(reach.token),
        "hosts": list(access.hosts),
        "origins": list(access.origins),
        "trusted_proxies": list(access.proxies),
        "aliases": dict(access.aliases),
        "notes": list(reach.notes),
    }


def reach_table(reach: Reach) -> Table:
    """Return how a gateway is reached as a table."""
    table = Table("gateway", "", box=None)
    table.columns[1].overflow = "fold"
    for name, said in _rows(reach):
        table.add_row(name, escape(said))
    return table


def _rows(reach: Reach) -> Iterator[tuple[str, str]]:
    yield "listens at", f"{reach.host}, port {PORT}: serve --host and --port say otherwise"
    yield "token", _token(reach.token)
    access = reach.access
    lists = {"hosts": access.hosts, "origins": access.origins, "trusted proxies": access.proxies}
    for name, items in lists.items():
        if items:
            yield name, ", ".join(items)
    for number, (alias, agent) in enumerate(access.aliases.items()):
        yield "" if number else "aliases", f"{alias} = {agent}"


def _token(token: GatewayToken | Path | None) -> str:
    match token:
        case GatewayToken(source=source):
            return f"that of {source}"
        case None:
            return "has a mistake"
        case path:
            return f"made at the first start, in {path}"


def _token_as_json(token: GatewayToken | Path | None) -> dict[str, Any] | None:
    match token:
        case GatewayToken(source=source):
            return {"source": source, "is_made": True}
        case None:
            return None
        case path:
            return {"source": str(path), "is_made": False}
