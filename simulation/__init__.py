"""The simulation's room: scripted providers, outages and virtual time, for demo and tests, ours and users'."""

from ._clock import backends, run_virtual, virtual_backend
from ._faults import KINDS, MID_STREAM, Fault, Vendor, draw_faults, scripts
from ._memory import ScriptedProvider, World
from ._outages import Outage, as_time
from ._picture import draw
from ._report import FAILED, AgentReport, Failed, Happened, ModelReport, OutageReport, Report, Span, State, worst
from ._run import play, simulate
from ._scenario import Scenario, Simulation, understood
from ._script import Answer, Behaviour, Breaks, Call, Hang, How, Phase, Raw, Refused, Reset, Script, Status
from ._server import Received, SimulatedServer, simulated_server

__all__ = (
    "FAILED",
    "KINDS",
    "MID_STREAM",
    "AgentReport",
    "Answer",
    "Behaviour",
    "Breaks",
    "Call",
    "Failed",
    "Fault",
    "Hang",
    "Happened",
    "How",
    "ModelReport",
    "Outage",
    "OutageReport",
    "Phase",
    "Raw",
    "Received",
    "Refused",
    "Report",
    "Reset",
    "Scenario",
    "Script",
    "ScriptedProvider",
    "SimulatedServer",
    "Simulation",
    "Span",
    "State",
    "Status",
    "Vendor",
    "World",
    "as_time",
    "backends",
    "draw",
    "draw_faults",
    "play",
    "run_virtual",
    "scripts",
    "simulate",
    "simulated_server",
    "understood",
    "virtual_backend",
    "worst",
)
