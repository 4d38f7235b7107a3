"""The arrows between the rooms, and the pure modules: what may be imported where."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ARROWS: dict[str, set[str]] = {
    "providers": set(),
    "credentials": {"providers"},
    "actors": {"credentials", "providers"},
    "supervisor": {"actors", "credentials", "providers"},
    "simulation": {"supervisor", "actors", "credentials", "providers"},
    "telemetry": {"supervisor", "actors", "credentials", "providers"},
    "gateway": {"supervisor", "actors", "credentials", "providers"},
    "understudy": {"gateway", "telemetry", "simulation", "supervisor", "actors", "credentials", "providers"},
}
"""Which room may import which."""

PURE: set[str] = {
    "actors/_budget",
    "actors/_circuit",
    "actors/_events",
    "actors/_gate",
    "actors/_gates",
    "actors/_health",
    "actors/_holds",
    "actors/_network",
    "actors/_window",
    "credentials/_addresses",
    "credentials/_credential",
    "credentials/_credential_values",
    "credentials/_device",
    "credentials/_events",
    "credentials/_lifetime",
    "credentials/_login",
    "credentials/_login_health",
    "credentials/_modes",
    "credentials/_notes",
    "credentials/_portal_answers",
    "credentials/_renewal",
    "credentials/_secret",
    "credentials/_source",
    "credentials/_store_fields",
    "credentials/_stores",
    "credentials/_words",
    "gateway/_keys",
    "gateway/_rates",
    "gateway/_seen",
    "gateway/_status",
    "gateway/_updates",
    "gateway/_askers",
    "gateway/_chunks",
    "gateway/_guard",
    "gateway/_heads",
    "gateway/_http1",
    "gateway/_kept",
    "gateway/_limits",
    "gateway/_values",
    "gateway/_violations",
    "providers/_accept",
    "providers/_claude",
    "providers/_clean",
    "providers/_cleaned",
    "providers/_dialects",
    "providers/_errors",
    "providers/_explain",
    "providers/_export",
    "providers/_fragments",
    "providers/_hints",
    "providers/_history",
    "providers/_http1",
    "providers/_inward",
    "providers/_inward_anthropic",
    "providers/_inward_dialects",
    "providers/_inward_fields",
    "providers/_inward_items",
    "providers/_inward_openai",
    "providers/_inward_parts",
    "providers/_inward_refused",
    "providers/_inward_responses",
    "providers/_json",
    "providers/_judge",
    "providers/_lines",
    "providers/_judge_nous",
    "providers/_machine",
    "providers/_messages",
    "providers/_parameters",
    "providers/_prices",
    "providers/_prelude",
    "providers/_relay",
    "providers/_request",
    "providers/_schema",
    "providers/_shape",
    "providers/_sse",
    "providers/_stream",
    "providers/_stream_anthropic",
    "providers/_stream_openai",
    "providers/_strict_json",
    "providers/_subset",
    "providers/_trail",
    "providers/_turns_anthropic",
    "providers/_turns_openai",
    "providers/_verdicts",
    "providers/_wire",
    "providers/_wire_anthropic",
    "providers/_wire_openai",
    "providers/_writing_responses",
    "providers/_written",
    "providers/_written_anthropic",
    "providers/_written_errors",
    "providers/_written_openai",
    "providers/_written_responses",
    "simulation/_answers",
    "simulation/_incoming",
    "simulation/_model",
    "simulation/_nous",
    "simulation/_outages",
    "simulation/_picture",
    "simulation/_portal",
    "simulation/_portal_tokens",
    "simulation/_portal_values",
    "simulation/_portal_wire",
    "simulation/_reply",
    "simulation/_report",
    "simulation/_scenario",
    "simulation/_script",
    "simulation/_sse",
    "supervisor/_discovery",
    "supervisor/_docstrings",
    "supervisor/_events",
    "supervisor/_history_cut",
    "supervisor/_metric_values",
    "supervisor/_misspelt",
    "supervisor/_restarts",
    "supervisor/_routing",
    "supervisor/_run_values",
    "supervisor/_serving",
    "telemetry/_generation",
}
"""Frozen values in, frozen values out: no clock, no I/O, no logging, no randomness."""

PURE_LIBRARIES = {"httptools", "orjson"}
FORBIDDEN_IN_PURE = {"asyncio", "trio", "anyio", "logging", "os", "random", "socket", "time", "io", "threading"}
FORBIDDEN_EVERYWHERE = {"asyncio", "trio"}
ENTRY_POINTS = {"simulation/_clock"}
"""What makes an event loop, and imports it where it does."""


def modules() -> list[Path]:
    """Every module of every room, by its real path."""
    files = [path for room in ARROWS for path in sorted((ROOT / room).glob("*.py"))]
    assert len(files) > 40
    return files


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix(""))


def imports(source: Path | ast.Module) -> list[tuple[int, str]]:
    """Return each import as (dots, module)."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source.read_text()) if isinstance(source, Path) else source):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


def rooms_imported(path: Path) -> set[str]:
    """Return the other rooms that a module imports from."""
    room = path.parent.name
    dots_to_rooms = 1 if room == "understudy" else 2
    found = {module.partition(".")[0] for dots, module in imports(path) if dots == dots_to_rooms}
    return found & set(ARROWS) - {room}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_arrows_between_the_rooms_point_one_way(path: Path) -> None:
    """A module imports only from the rooms that its own may know."""
    assert rooms_imported(path) <= ARROWS[path.parent.name]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_rooms_are_imported_relatively(path: Path) -> None:
    """Neither `import providers` nor `import understudy.providers`: the one makes a second copy, the other a knot."""
    absolute = {module.partition(".")[0] for dots, module in imports(path) if dots == 0}
    assert not absolute & set(ARROWS)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_library_knows_anyio_only(path: Path) -> None:
    """No module imports an event loop; an entry point does so inside a function, when it needs one."""
    tree = ast.parse(path.read_text())
    if name_of(path) in ENTRY_POINTS:
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not {module.partition(".")[0] for dots, module in imports(tree) if dots == 0} & FORBIDDEN_EVERYWHERE


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_import_only_pure_things(name: str) -> None:
    """A pure module imports the standard library without its impure parts, and pure modules."""
    path = ROOT / f"{name}.py"
    for dots, module in imports(path):
        top = module.partition(".")[0]
        if dots == 0:
            assert top in sys.stdlib_module_names | PURE_LIBRARIES | {"__future__"}
            assert top not in FORBIDDEN_IN_PURE
        elif dots == 1:
            assert f"{path.parent.name}/{module}" in PURE
        else:
            assert top in ARROWS[path.parent.name]  # the public names of a room below: values, tables and errors


def test_every_linked_room_is_real() -> None:
    """`understudy/actors` and its like are links to the rooms at the top, so that both paths are one file."""
    for room in ARROWS.keys() - {"understudy"}:
        link = ROOT / "understudy" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room


@pytest.mark.parametrize("room", sorted(ARROWS.keys() - {"understudy"}))
def test_every_room_says_what_it_shows(room: str) -> None:
    """`__init__.py` holds re-exports and a sorted `__all__`, nothing else."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    docstring, *statements = tree.body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(statement, (ast.ImportFrom, ast.Assign)) for statement in statements)
    imported = {
        alias.asname or alias.name
        for statement in statements
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    last = statements[-1]
    assert isinstance(last, ast.Assign)
    assert set(ast.literal_eval(last.value)) == imported
