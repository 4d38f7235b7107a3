"""The credentials' room: the login of Nous, its stores, its rules and its one renewal at a time. It knows no actors."""

from ._addresses import INFERENCE_URL
from ._credential_values import STOPPED, Bearer, Why
from ._device import DeviceCode
from ._events import (
    CredentialDied,
    CredentialEnding,
    CredentialEvent,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
)
from ._host import Host
from ._keeper import BarredError, Keeper
from ._login_health import Life, LoginHealth
from ._modes import Choice, Given, HermesPlaces, Mode, choose_mode, hermes_places
from ._secret import Secret
from ._shelf import has_nous
from ._sign_in import SignInError, log_in, log_out, look
from ._source import LoginSource

__all__ = (
    "INFERENCE_URL",
    "STOPPED",
    "BarredError",
    "Bearer",
    "Choice",
    "CredentialDied",
    "CredentialEnding",
    "CredentialEvent",
    "CredentialRenewed",
    "CredentialRevived",
    "CredentialSaved",
    "CredentialTroubled",
    "CredentialUnsaved",
    "DeviceCode",
    "Given",
    "HermesPlaces",
    "Host",
    "Keeper",
    "Life",
    "LoginHealth",
    "LoginSource",
    "Mode",
    "Secret",
    "SignInError",
    "Why",
    "choose_mode",
    "has_nous",
    "hermes_places",
    "log_in",
    "log_out",
    "look",
)
