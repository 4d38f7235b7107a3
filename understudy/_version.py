"""The version, as the metadata of the installed package have it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("understudy")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
