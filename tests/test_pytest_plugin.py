"""The fixtures for users' tests, in a project of a user's own: pytest in a process, on both backends."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

ROOT = Path(__file__).parent.parent
CONFTEST = 'pytest_plugins = ["understudy.simulation.pytest"]\n'


async def run_project(folder: Path, **files: str) -> tuple[int, str]:
    """Run pytest on a project, warnings being errors; return its exit code and what it said."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command += ["--confcutdir", str(folder), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await anyio.run_process(command, check=False, cwd=folder, env=environment)
    return done.returncode, done.stdout.decode()


@pytest.fixture
def anyio_backend() -> str:
    """The tests of the project choose their backends themselves."""
    return "asyncio"


async def test_the_documented_project_runs_on_both_backends(tmp_path: Path) -> None:
    """What docs/testing.md shows passes as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    files = {re.findall(r"# (\w+)\.py\n", block)[0]: block for block in blocks if re.match(r"# \w+\.py\n", block)}
    assert set(files) == {"conftest", "test_agents"}
    code, said = await run_project(tmp_path, **files)
    assert code == 0, said
    assert "test_nobody_notices_the_outage[asyncio] PASSED" in said
    assert "test_nobody_notices_the_outage[trio] PASSED" in said


async def test_a_configuration_of_the_environment_needs_no_keys(tmp_path: Path) -> None:
    """Without settings, environment and `.env` are read; hooks are told; a wrong configuration is an error."""
    code = """
import pytest
from understudy import ConfigurationError

@pytest.mark.anyio
async def test_it(world, understudy_supervisor, monkeypatch):
    events = []
    with pytest.raises(ConfigurationError, match="at least one agent"):
        async with understudy_supervisor(world({})):
            pass
    monkeypatch.setenv("DERIVER_MODEL_CONFIG__MODEL", "openai/gpt")
    async with understudy_supervisor(world({}), hooks=[events.append]) as supervisor:
        assert (await supervisor.agent("deriver").complete("Hi")).text == "Hello."
    assert [type(event).__name__ for event in events] == ["RequestEnded"]
"""
    exit_code, said = await run_project(tmp_path, conftest=CONFTEST, test_it=code)
    assert exit_code == 0, said


async def test_what_is_left_open_fails_the_test(tmp_path: Path) -> None:
    """A supervisor that is never closed is told, with what to do."""
    code = """
import anyio, pytest
from understudy.providers import Target

@pytest.mark.anyio
async def test_it(world):
    world({}).connect(Target("openai", "http://lead.test", None))
"""
    exit_code, said = await run_project(tmp_path, conftest=CONFTEST, test_it=code)
    assert exit_code == 1
    assert "1 simulated providers are still open: leave the supervisor's block" in said


async def test_nothing_is_loaded_unasked(tmp_path: Path) -> None:
    """Without the line in `conftest.py` there is neither a fixture of ours nor an import."""
    code = """
import pytest, sys

def test_it(request):
    assert "understudy" not in sys.modules
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("understudy_supervisor")
"""
    exit_code, said = await run_project(tmp_path, test_it=code)
    assert exit_code == 0, said


async def test_one_backend_is_a_matter_of_one_fixture(tmp_path: Path) -> None:
    """A project's own `anyio_backend` wins."""
    more = """
import pytest
from understudy.simulation import virtual_backend

@pytest.fixture
def anyio_backend():
    return virtual_backend("trio")
"""
    code = """
import anyio, pytest

@pytest.mark.anyio
async def test_it():
    await anyio.sleep(3600)
    assert anyio.current_time() == 3600
"""
    exit_code, said = await run_project(tmp_path, conftest=CONFTEST + more, test_it=code)
    assert exit_code == 0, said
    assert "1 passed" in said
