"""Which credential of Nous is used, and where Hermes Agent keeps its own. Pure.

    NOUS_AUTH_MODE is set       that one, or what is missing for it
    our own store is there      own
    auth.json speaks of Nous    hermes
    NOUS_REFRESH_TOKEN is set   own, made from it once
    LLM_NOUS_API_KEY is set     static
    none of these               static, and what is missing for it

A mode that was chosen stays: no failed renewal ever falls back to a static key.

Source: github.com/NousResearch/hermes-agent, `hermes_cli/auth.py` and `hermes_cli/auth_nous.py` for the folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import final


class Mode(StrEnum):
    """Whose credential it is: a key that never changes, Hermes Agent's login, or one of our own."""

    STATIC = "static"
    HERMES = "hermes"
    OWN = "own"


@final
@dataclass(frozen=True, slots=True)
class Given:
    """What there is to choose from. `mode` is NOUS_AUTH_MODE; empty: unset."""

    mode: str = ""
    has_own_store: bool = False
    has_hermes_store: bool = False
    has_refresh_token: bool = False
    has_static_key: bool = False


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """The mode, and what is missing for it: an empty `problem` means nothing. `variable` is where to mend it."""

    mode: Mode
    problem: str = ""
    variable: str = ""


_LOGIN = "log in with `understudy login nous`"


def choose_mode(given: Given) -> Choice:
    """Return the mode to use, or why it cannot be."""
    wanted = given.mode.strip().lower()
    if not wanted:
        return _completed(_by_what_is_there(given), given)
    if wanted not in set(Mode):
        return Choice(Mode.STATIC, "expected static, hermes or own", "NOUS_AUTH_MODE")
    return _completed(Mode(wanted), given)


def _by_what_is_there(given: Given) -> Mode:
    if given.has_own_store:
        return Mode.OWN
    if given.has_hermes_store:
        return Mode.HERMES
    return Mode.OWN if given.has_refresh_token else Mode.STATIC


def _completed(mode: Mode, given: Given) -> Choice:
    if mode is Mode.STATIC and not given.has_static_key:
        return Choice(mode, f"set a key, or {_LOGIN}", "LLM_NOUS_API_KEY")
    if mode is Mode.HERMES and not given.has_hermes_store:
        return Choice(
            mode, "there is no auth.json of Hermes Agent; log in there first, or name it", "NOUS_AUTH_JSON_PATH"
        )
    if mode is Mode.OWN and not (given.has_own_store or given.has_refresh_token):
        return Choice(mode, f"nobody is logged in; {_LOGIN}", "NOUS_OAUTH_STATE_PATH")
    return Choice(mode)


@final
@dataclass(frozen=True, slots=True)
class HermesPlaces:
    """Hermes Agent's stores: the profile's, the root's if that is another, and the shared one."""

    profile: PurePath
    root: PurePath
    shared: PurePath

    def locks(self, *, from_root: bool) -> tuple[PurePath, ...]:
        """Return the lock files in the order in which everybody takes them, so that nobody waits in a circle.

        Args:
            from_root: The login was read from the root's store, since the profile has none.
        """
        auth = (self.profile, self.root) if from_root and self.root != self.profile else (self.profile,)
        return tuple(path.with_suffix(".lock") for path in (*auth, self.shared))


def hermes_places(home: PurePath, native: PurePath, env: Mapping[str, str]) -> HermesPlaces:
    """Return where Hermes Agent keeps its logins.

    The root is the usual home if HERMES_HOME lies inside of it, else the grandparent of a profile's folder
    (`<root>/profiles/<name>`), else HERMES_HOME itself.

    Args:
        home: HERMES_HOME, or the usual home.
        native: The usual home: `~/.hermes`.
        env: NOUS_AUTH_JSON_PATH and HERMES_SHARED_AUTH_DIR count, where they are set.
    """
    named = env.get("NOUS_AUTH_JSON_PATH", "").strip()
    profile = PurePath(named) if named else home / "auth.json"
    folder = profile.parent
    if folder.is_relative_to(native):
        root = native
    else:
        root = folder.parent.parent if folder.parent.name == "profiles" else folder
    shared = env.get("HERMES_SHARED_AUTH_DIR", "").strip()
    return HermesPlaces(
        profile,
        profile if root == folder else root / "auth.json",
        (PurePath(shared) if shared else root / "shared") / "nous_auth.json",
    )
