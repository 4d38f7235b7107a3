"""The simulation's room: scripted providers, on loopback and in memory, for demo and tests, ours and users'."""

from ._faults import Fault, Vendor, draw_faults, scripts
from ._memory import ScriptedProvider, World
from ._script import Answer, Behaviour, Call, Hang, Phase, Raw, Refused, Reset, Script, Status
from ._server import Received, SimulatedServer, simulated_server

__all__ = (
    "Answer",
    "Behaviour",
    "Call",
    "Fault",
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
    "Vendor",
    "World",
    "draw_faults",
    "scripts",
    "simulated_server",
)
