"""`understudy login nous` and `understudy logout nous`, for the command line."""

from __future__ import annotations

import json
import webbrowser
from functools import partial

import click

from .credentials import DeviceCode, Host, LoginSource, log_in, log_out


async def sign_in(source: LoginSource, host: Host, *, json_: bool, opens: bool) -> None:
    """Log in by a device code, showing where to approve it, and say where the login is kept.

    Raises:
        SignInError: There is no new login; the text says why.
    """
    await log_in(source, host, partial(_show, json_=json_, opens=opens))
    if json_:
        click.echo(json.dumps({"event": "logged_in", "mode": str(source.mode), "where": str(source.main)}))
    else:
        click.echo(f"logged in; the login is kept in {source.main}")


async def sign_out(source: LoginSource, host: Host, *, json_: bool) -> None:
    """Forget our own login, and say so.

    Raises:
        SignInError: It is not ours, or cannot be removed.
    """
    was_there = await log_out(source, host)
    if json_:
        click.echo(json.dumps({"event": "logged_out", "was_logged_in": was_there, "where": str(source.main)}))
    else:
        click.echo(f"logged out; {source.main} is removed" if was_there else "nobody was logged in")


async def _show(code: DeviceCode, *, json_: bool, opens: bool) -> None:
    if json_:
        shown = {"event": "approve", "url": code.url, "complete_url": code.complete_url, "user_code": code.user_code}
        click.echo(json.dumps({**shown, "expires_in": code.expires_in}))
    else:
        click.echo(f"Approve this login within {code.expires_in / 60:.0f} minutes:\n")
        click.echo(f"  {code.complete_url}")
        click.echo(f"  code: {code.user_code}\n")
        click.echo("Waiting for the approval. Ctrl-C ends it.")
    if opens:
        webbrowser.open(code.complete_url)
