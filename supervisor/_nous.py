"""Which credential routes to Nous use: a static key, or a login that is kept in files and renewed.

What is there decides, unless NOUS_AUTH_MODE does (`credentials/_modes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast, final

from ..credentials import Choice, Given, HermesPlaces, LoginSource, Mode, Secret, choose_mode, has_nous, hermes_places
from ..providers import ConfigurationError, Problem
from ._settings import Settings
from ._values import EXPECTED, at_home, variable_of

LOGIN = "nous"
"""What targets call the login, in place of a key."""


@final
@dataclass(frozen=True, slots=True)
class NousCredential:
    """The credential of all routes to Nous that have no key of their own. Without a `source` it is a static key."""

    source: LoginSource | None = None
    problem: Problem | None = None


def nous_credential(settings: Settings) -> NousCredential:
    """Return the credential that the settings and the files that are there come to."""
    choice, places = _choice(settings), _places(settings)
    if choice.mode is Mode.STATIC:
        return NousCredential()
    source = _source(settings, choice.mode, places)
    if not choice.problem:
        return NousCredential(source, _homeless(source))
    problem = Problem(choice.variable, f"a login in {source.main}", choice.problem, lacks_key=True)
    return NousCredential(source, problem)


def login_source(settings: Settings | None = None) -> LoginSource:
    """Return where `understudy login nous` keeps a login: Hermes Agent's stores if those are in use, else our own file.

    Raises:
        ConfigurationError: A variable that matters for that has a value it cannot have, or lacks one where the home
            folder is not known.
    """
    if settings is None:
        try:
            settings = Settings()
        except ConfigurationError as error:  # an agent's mistake keeps nobody from logging in
            if mistakes := [each for each in error.problems if each.variable.startswith(("NOUS_", "HERMES_"))]:
                raise ConfigurationError(mistakes) from None
            settings = cast(Settings, error.partial)
    mode = _choice(settings).mode
    source = _source(settings, Mode.OWN if mode is Mode.STATIC else mode, _places(settings))
    if homeless := _homeless(source):
        raise ConfigurationError([homeless])
    return source


def _choice(settings: Settings) -> Choice:
    places = _places(settings)
    return choose_mode(
        Given(
            mode=settings.nous_auth_mode or "",
            has_own_store=_is_there(settings.nous_oauth_state_path),
            has_hermes_store=has_nous(places),
            has_refresh_token=settings.nous_refresh_token is not None,
            has_static_key=settings.nous_api_key is not None,
        )
    )


def _places(settings: Settings) -> HermesPlaces:
    named = {
        variable_of("nous_auth_json_path"): settings.nous_auth_json_path,
        variable_of("hermes_shared_auth_dir"): settings.hermes_shared_auth_dir,
    }
    texts = {name: str(path) for name, path in named.items() if path is not None}
    return hermes_places(settings.hermes_home, at_home(".hermes"), texts)


def _source(settings: Settings, mode: Mode, places: HermesPlaces) -> LoginSource:
    token = settings.nous_refresh_token
    return LoginSource(
        mode,
        settings.nous_oauth_state_path,
        places if mode is Mode.HERMES else None,
        portal=(settings.nous_portal_base_url or "").rstrip("/"),
        inference=settings.nous_base_url or "",
        refresh_token=None if token is None else Secret(token.get_secret_value()),
        env_file=settings.nous_write_env_key,
        allow_insecure=settings.nous_allow_insecure_tls,
        ca_bundle=str(settings.hermes_ca_bundle or ""),
    )


def _homeless(source: LoginSource) -> Problem | None:
    """Say that the login would stand in a home folder that nobody knows: no file is made in a folder called `~`."""
    for path, name in ((source.store, "nous_oauth_state_path"), (source.main, "hermes_home")):
        if path.parts[:1] == ("~",):
            return Problem(variable_of(name), EXPECTED[name], "set it: the home folder is not known", lacks_key=True)
    return None


def _is_there(path: PurePath) -> bool:
    """Say whether a file is there; one that cannot be looked at is, so that its trouble is told and not passed over."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # `Path.exists` would hide it from Python 3.14 on
        return True
    return True
