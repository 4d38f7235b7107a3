"""The actors' room: one owner per endpoint, with its mailbox, its health and its client. It knows no supervisor."""

from ._endpoint import Endpoint, Permit
from ._health import Health, Outcome, Phase, Refused, outcome
from ._mailbox import Mailbox, Reply
from ._provider_actor import Drain, Message, ProviderActor, Stop

__all__ = (
    "Drain",
    "Endpoint",
    "Health",
    "Mailbox",
    "Message",
    "Outcome",
    "Permit",
    "Phase",
    "ProviderActor",
    "Refused",
    "Reply",
    "Stop",
    "outcome",
)
