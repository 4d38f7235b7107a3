"""Where a login comes from, and what the operator set for it: one frozen value, made once from the settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import final

from ._modes import HermesPlaces, Mode
from ._secret import Secret


@final
@dataclass(frozen=True, slots=True)
class LoginSource:
    """A login that is kept in files, and renewed: Hermes Agent's, or our own.

    `store` is our own login's file; in mode `hermes` its folder holds what we remember of Hermes Agent's. `portal` and
    `inference` are the operator's overrides, empty where there is none; they are never written anywhere.
    `refresh_token` begins a login of our own where there is none yet. `env_file` is a `.env` into which the bearer is
    written, where that was asked for. `allow_insecure` lets a stored login say that TLS is not to be verified, and
    `ca_bundle` is a file of trusted certificates.
    """

    mode: Mode
    store: PurePath
    hermes: HermesPlaces | None = None
    portal: str = ""
    inference: str = ""
    refresh_token: Secret | None = field(default=None, repr=False)
    env_file: PurePath | None = None
    allow_insecure: bool = False
    ca_bundle: str = ""

    @property
    def main(self) -> PurePath:
        """The store that a login is read from first, for people."""
        return self.store if self.hermes is None else self.hermes.profile
