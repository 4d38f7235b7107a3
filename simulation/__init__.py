"""The simulation's room: scripted providers, outages and virtual time, for demo and tests, ours and users'."""

from ._clock import backends, run_virtual, virtual_backend
from ._faults import KINDS, MID_STREAM, Fault, Vendor, draw_faults, scripts
from ._incoming import Incoming
from ._memory import ScriptedProvider, World
from ._nous import NOUS_ERRORS, NousErrorName, flat_error
from ._outages import Outage, as_time
from ._picture import draw
from ._portal import Portal
from ._portal_server import Cut, Lost, PortalFault, SimulatedPortal, Slow, simulated_portal
from ._portal_tokens import fingerprint, jwt_claims
from ._portal_values import DeviceCode, Login, PortalCounts, PortalRequest, PortalRules
from ._portal_wire import EDGE_BLOCK, html_page
from ._report import FAILED, AgentReport, Failed, Happened, ModelReport, OutageReport, Report, Span, State, worst
from ._run import play, simulate
from ._scenario import Scenario, Simulation, understood
from ._script import Answer, Behaviour, Breaks, Call, Hang, How, Phase, Raw, Refused, Reset, Script, Status
from ._server import Guard, Received, SimulatedServer, simulated_server

__all__ = (
    "EDGE_BLOCK",
    "FAILED",
    "KINDS",
    "MID_STREAM",
    "NOUS_ERRORS",
    "AgentReport",
    "Answer",
    "Behaviour",
    "Breaks",
    "Call",
    "Cut",
    "DeviceCode",
    "Failed",
    "Fault",
    "Guard",
    "Hang",
    "Happened",
    "How",
    "Incoming",
    "Login",
    "Lost",
    "ModelReport",
    "NousErrorName",
    "Outage",
    "OutageReport",
    "Phase",
    "Portal",
    "PortalCounts",
    "PortalFault",
    "PortalRequest",
    "PortalRules",
    "Raw",
    "Received",
    "Refused",
    "Report",
    "Reset",
    "Scenario",
    "Script",
    "ScriptedProvider",
    "SimulatedPortal",
    "SimulatedServer",
    "Simulation",
    "Slow",
    "Span",
    "State",
    "Status",
    "Vendor",
    "World",
    "as_time",
    "backends",
    "draw",
    "draw_faults",
    "fingerprint",
    "flat_error",
    "html_page",
    "jwt_claims",
    "play",
    "run_virtual",
    "scripts",
    "simulate",
    "simulated_portal",
    "simulated_server",
    "understood",
    "virtual_backend",
    "worst",
)
