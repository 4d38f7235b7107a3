"""Other gateways beside ours, under the same load: LiteLLM's proxy, and Portkey's gateway.

Each is started as its documentation says, over the same models, without database, cache, retries, telemetry and log of
requests; a client shows a token where the gateway has one. `python -m benchmarks.peers.gateways JOB` prints the rows of
one scenario, all that are installed taking turns.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import distributions, version
from typing import Any

from ..gateway import rows
from ..load import Load
from ..measure import job
from ..runs import ROOT
from ..served import KEY, TARGETS, TOKEN, Called, Gateway, Recipe, base, ours

ENVIRONMENTS = ROOT / ".peers"
LITELLM = ENVIRONMENTS / "litellm-proxy"
PORTKEY = ENVIRONMENTS / "portkey" / "node_modules" / "@portkey-ai" / "gateway"

LOADS = {"whole": Load(64, 10, 3), "stream": Load(64, 1, 2), "late": Load(256, 2, 2)}
"""Fewer than ours alone is asked: the dearest of them takes its time."""


def litellm() -> Gateway:
    """Return LiteLLM's proxy: one process, its models in a file, a master key.

    Source: docs.litellm.ai, "Best Practices for Production": logs of errors alone, no debugging.
    """

    def recipe(port: int, url: str) -> Recipe:
        config: dict[str, Any] = {
            "model_list": [
                {
                    "model_name": name,
                    "litellm_params": {
                        "model": f"{target.wire}/{target.model}",
                        "api_base": base(target, url),
                        "api_key": KEY,
                    },
                }
                for name, target in TARGETS.items()
            ],
            "general_settings": {"master_key": f"sk-{TOKEN}"},
            "litellm_settings": {"telemetry": False, "num_retries": 0, "set_verbose": False},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        }
        quiet = {
            "version": 1,
            "disable_existing_loggers": False,
            "loggers": {"uvicorn": {"level": "ERROR"}, "uvicorn.access": {"level": "ERROR"}},
        }
        command = (str(LITELLM / "bin" / "litellm"), "--config", "config.yaml", "--log_config", "logs.json")
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
        return Recipe(
            (*command, "--host", "127.0.0.1", "--port", str(port)),
            {**environment, "DISABLE_ADMIN_UI": "True"},
            {"config.yaml": json.dumps(config), "logs.json": json.dumps(quiet)},
        )

    return Gateway("LiteLLM proxy", recipe, lambda name, _: Called(name, {"authorization": f"Bearer sk-{TOKEN}"}))


def portkey() -> Gateway:
    """Return Portkey's gateway on Node: it keeps nothing, and is told with each request whom to ask."""

    def recipe(port: int, url: str) -> Recipe:
        node = shutil.which("node") or "node"
        command = (node, str(PORTKEY / "build" / "start-server.js"), f"--port={port}", "--headless")
        return Recipe(command, {"NODE_ENV": "production"})

    def called(name: str, url: str) -> Called:
        target = TARGETS[name]
        headers = {
            "authorization": f"Bearer {KEY}",
            "x-portkey-provider": target.wire,
            "x-portkey-custom-host": url,
        }
        return Called(target.model, headers)

    return Gateway("Portkey", recipe, called)


def installed() -> tuple[dict[str, Gateway], list[str]]:
    """Return the gateways that there are, by the versions that they are of, and the titles of those there are not."""
    every = {
        "ours": (ours("asyncio"), True),
        "litellm": (litellm(), (LITELLM / "bin" / "litellm").exists()),
        "portkey": (portkey(), PORTKEY.exists() and shutil.which("node") is not None),
    }
    there = {name: gateway for name, (gateway, is_there) in every.items() if is_there}
    return there, [gateway.title for gateway, is_there in every.values() if not is_there]


def versions(name: str) -> dict[str, str]:
    """Return the version of a gateway that is installed."""
    if name == "ours":
        return {"understudy": version("understudy")}
    if name == "portkey":
        return {"@portkey-ai/gateway": json.loads((PORTKEY / "package.json").read_text())["version"]}
    (folder,) = LITELLM.glob("lib/python*/site-packages")
    found = {found.name: found.version for found in distributions(path=[str(folder)])}
    return {"litellm": found["litellm"]}


def main() -> None:
    """Measure what the command line says, and print it as JSON."""
    there, _ = installed()
    told = {gateway.title: versions(name) for name, gateway in there.items()}
    found = rows(job(sys.argv[1]), list(there.values()), LOADS)
    print(json.dumps({"rows": [{**row, "versions": told[row["peer"]]} for row in found]}))


if __name__ == "__main__":
    main()
