"""The gateway room: the supervisor behind the HTTP dialects that everybody speaks."""

from ._limits import Limits
from ._server import Server, serve, serve_listeners
from ._values import Application, Head, HTTPAnswer, HTTPRequest

__all__ = ("Application", "HTTPAnswer", "HTTPRequest", "Head", "Limits", "Server", "serve", "serve_listeners")
