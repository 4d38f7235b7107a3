"""The simulation's room: scripted providers, on loopback and in memory, for demo and tests, ours and users'."""

from ._clock import run_virtual, virtual_backend
from ._memory import ScriptedProvider, World
from ._script import Answer, Behaviour, Call, Hang, Phase, Raw, Refused, Reset, Script, Status
from ._server import Received, SimulatedServer, simulated_server

__all__ = (
    "Answer",
    "Behaviour",
    "Call",
    "Hang",
    "Phase",
    "Raw",
    "Received",
    "Refused",
    "Reset",
    "Script",
    "ScriptedProvider",
    "SimulatedServer",
    "Status",
    "World",
    "run_virtual",
    "simulated_server",
    "virtual_backend",
)
