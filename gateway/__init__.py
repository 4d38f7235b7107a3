"""The gateway room: the supervisor behind the HTTP dialects that everybody speaks."""

from ._act import act
from ._app import Gateway
from ._asgi import ASGIApplication
from ._console import FeedConsole
from ._feed import CrowdedError, Feed
from ._guard import SELF, Guard, Refusal, is_loopback
from ._keys import Action, key_text, parse_key, read_action
from ._limits import Limits
from ._page import files, page_file
from ._server import Server, serve, serve_listeners
from ._token import GatewayToken, gateway_token, held_token
from ._updates import merged
from ._values import Application, Head, HTTPAnswer, HTTPRequest

__all__ = (
    "SELF",
    "ASGIApplication",
    "Action",
    "Application",
    "CrowdedError",
    "Feed",
    "FeedConsole",
    "Gateway",
    "GatewayToken",
    "Guard",
    "HTTPAnswer",
    "HTTPRequest",
    "Head",
    "Limits",
    "Refusal",
    "Server",
    "act",
    "files",
    "gateway_token",
    "held_token",
    "is_loopback",
    "key_text",
    "merged",
    "page_file",
    "parse_key",
    "read_action",
    "serve",
    "serve_listeners",
)
