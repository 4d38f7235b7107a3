"""Asks every family in all its ways; time is real."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

WIRES = ("openai", "anthropic")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask in every way of the class, on its event loops, through providers of either wire."""
    told = metafunc.cls
    rows = {"anyio_backend": told.backends, "way": told.ways, "wire": WIRES, "how": told.shapes} if told else {}
    for name, values in rows.items():
        if name in metafunc.fixturenames:
            is_loop = name == "anyio_backend"
            metafunc.parametrize(name, values, indirect=is_loop, scope="module" if is_loop else None)


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on an event loop of the class's."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="module", autouse=True)
async def _one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one event loop for all tests, as a program has one: frameworks keep connections in the module."""
    yield  # noqa: PT022 - the loop is kept while the fixture is
