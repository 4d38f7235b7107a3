"""The certificates to trust, where the environment names them: every HTTPS client of ours takes them from there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..providers import Problem, out_of_files

_PEM = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", re.MULTILINE)
"""How a certificate begins in a file that OpenSSL reads."""

_HASHED = re.compile(r"[0-9a-fA-F]{8}\.\d+")


def untrusted(environment: Mapping[str, str], base_urls: Iterable[str]) -> list[Problem]:
    """Return what is wrong with `SSL_CERT_FILE`, or with `SSL_CERT_DIR`, which counts where the first is not set.

    A file that cannot be read keeps every client from opening. A folder without certificates is found out by the first
    HTTPS request alone, so it is wrong only where one of `base_urls` wants HTTPS.

    Raises:
        OSError: No more files can be opened, which is no fault of these.
    """
    file, folders = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    wants_https = any(url.startswith("https://") for url in base_urls)
    if file and (reason := _unreadable(file)):
        expected = f"a PEM file of certificates that can be read ({reason})"
        return [
            Problem("SSL_CERT_FILE", expected, "name such a file, or remove SSL_CERT_FILE to trust the system's own")
        ]
    if not file and folders and wants_https and not any(map(_holds_certificates, folders.split(os.pathsep))):
        expected = "a folder of certificates that can be read, prepared by `openssl rehash`"
        return [
            Problem("SSL_CERT_DIR", expected, "name such a folder, or remove SSL_CERT_DIR to trust the system's own")
        ]
    return []


def _unreadable(file: str) -> str | None:
    """Say why no certificates can be read from a file, or None if they can.

    Whether each of them is sound is found out by the client: to parse them all takes 30 ms, each time.
    """
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        if out_of_files(error):
            raise
        return error.strerror or type(error).__name__
    return None if _PEM.search(text) else "there is no certificate in it"


def _holds_certificates(folder: str) -> bool:
    """Say whether OpenSSL can find certificates there: it knows them by files that are called after their hashes."""
    try:
        return any(map(_HASHED.fullmatch, os.listdir(folder)))
    except OSError:
        return False
