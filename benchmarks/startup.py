"""What it costs to begin: an import, and opening a supervisor, each in a process that has imported nothing before.

`python -m benchmarks.startup JOB` prints one JSON object: seconds of CPU, and megabytes of resident memory added.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from typing import Any

from .measure import Job, main

OPEN = """
import anyio, understudy
from understudy import AgentSettings, RouteSettings, Settings

async def opened():
    first = RouteSettings(transport="openai", model="a-model", base_url="http://localhost:1/v1", api_key="sk-benchmark")
    second = RouteSettings(transport="{second}", model="a-model", base_url="http://localhost:1", api_key="sk-benchmark")
    agents = {{"agent": AgentSettings(primary=first, fallbacks=(second,))}}
    async with understudy.open_supervisor(Settings.in_code(agents=agents)):
        pass

anyio.run(opened, backend="{backend}")
"""

WHAT = {
    "import understudy": "import understudy",
    "import openai": "import openai",
    "import openai, anthropic": "import openai, anthropic",
    "open a supervisor, both routes over openai": OPEN.format(second="gemini", backend="asyncio"),
    "open a supervisor, its fallback over anthropic": OPEN.format(second="anthropic", backend="asyncio"),
}
SCENARIOS = tuple((what,) for what in WHAT)
ROUNDS = 3

PROGRAM = """
import json, resource, time
def pages():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])
before, begun = pages(), time.process_time()
{code}
spent = time.process_time() - begun
print(json.dumps([spent, (pages() - before) * resource.getpagesize() / 2**20]))
"""


def once(code: str) -> tuple[float, float]:
    """Run the code in a fresh process; return its seconds of CPU, and the megabytes that it added."""
    program = [sys.executable, "-c", PROGRAM.format(code=code)]
    spent, added = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    return spent, added


async def measure(job: Job) -> dict[str, Any]:
    """Measure one of them; the first run may write the compiled modules, and is not counted."""
    (what,) = job.scenario
    runs = [once(WHAT[what]) for _ in range(1 if job.quick else ROUNDS + 1)]
    counted = runs[-ROUNDS:]
    return {"what": what, "cpu": median(cpu for cpu, _ in counted), "megabytes": median(added for _, added in counted)}


if __name__ == "__main__":
    main(measure)
