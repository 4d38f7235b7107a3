"""The supervisor's room: settings, the plan they come to, routing, and who is started and restarted."""

from ._about import CallParameters
from ._agent import Agent
from ._events import AccessRefused, ActorRestarted, Event, HandedOver, RequestEnded, Returned
from ._functions import as_tool
from ._gateway_access import GatewayAccess, alias_problems
from ._hooks import Hook, checked, named, total
from ._inlet import Inlet, Inquiry
from ._langfuse_access import LangfuseAccess
from ._metric_values import FAMILIES, Distribution, Family, Kind, Metrics, Sample, provider_name
from ._notes import notes, without_fallback
from ._nous import login_source
from ._plan import NO_AGENT, AgentPlan, Limits, Plan, Route, RouteVariables, load, sound, without_keys
from ._restarts import Intensity
from ._route_settings import AgentSettings, RouteSettings
from ._routing import Policy
from ._run_stream import RunEvent, RunStream
from ._run_values import Iteration, Run, ToolUse
from ._settings import Settings
from ._stream import OnInterrupt, ServedBy, Stream
from ._supervisor import DRAIN_FOR, Supervisor, supervise
from ._tasks import background_tasks
from ._tracing import (
    About,
    Begun,
    Over,
    RequestBegun,
    RequestOver,
    RunBegun,
    RunOver,
    Span,
    ToolBegun,
    ToolOver,
    Tracer,
    TurnBegun,
    TurnOver,
    tracers_checked,
)
from ._unprotected import Unprotected, unprotected
from ._values import EXPECTED
from ._watch import Watch

__all__ = (
    "DRAIN_FOR",
    "EXPECTED",
    "FAMILIES",
    "NO_AGENT",
    "About",
    "AccessRefused",
    "ActorRestarted",
    "Agent",
    "AgentPlan",
    "AgentSettings",
    "Begun",
    "CallParameters",
    "Distribution",
    "Event",
    "Family",
    "GatewayAccess",
    "HandedOver",
    "Hook",
    "Inlet",
    "Inquiry",
    "Intensity",
    "Iteration",
    "Kind",
    "LangfuseAccess",
    "Limits",
    "Metrics",
    "OnInterrupt",
    "Over",
    "Plan",
    "Policy",
    "RequestBegun",
    "RequestEnded",
    "RequestOver",
    "Returned",
    "Route",
    "RouteSettings",
    "RouteVariables",
    "Run",
    "RunBegun",
    "RunEvent",
    "RunOver",
    "RunStream",
    "Sample",
    "ServedBy",
    "Settings",
    "Span",
    "Stream",
    "Supervisor",
    "ToolBegun",
    "ToolOver",
    "ToolUse",
    "Tracer",
    "TurnBegun",
    "TurnOver",
    "Unprotected",
    "Watch",
    "alias_problems",
    "as_tool",
    "background_tasks",
    "checked",
    "load",
    "login_source",
    "named",
    "notes",
    "provider_name",
    "sound",
    "supervise",
    "total",
    "tracers_checked",
    "unprotected",
    "without_fallback",
    "without_keys",
)
