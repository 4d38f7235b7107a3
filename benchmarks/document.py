"""What of `docs/performance.md` is made from what was measured: tables, and the machine and versions they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .tables import gateway_tables, markdown, own_tables, peer_tables

QUICK = "**From a quick run of a few calls: they show no more than that all of it works.**"


def setting(about: Mapping[str, Any]) -> str:
    """Say what machine and which versions figures are from."""
    packages = [f"{name} {version}" for name, version in about["versions"].items()]
    machine = f"{about['machine']}, {about['cores']} cores, {about['system']}; Python {about['python']}"
    said = f"{'; '.join([machine, *filter(None, [', '.join(packages)])])}."
    return f"{said} {QUICK}" if about["quick"] else said


def parts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands between the marks of each part."""
    made: dict[str, str] = {}
    if "bench" in record:
        tables = map(markdown, own_tables(record["bench"]))
        made["figures"] = "\n\n".join([setting(record["bench"]["about"]), *tables])
    if "peers" in record:
        tables = map(markdown, peer_tables(record["peers"]["rows"]))
        made["peers"] = "\n\n".join([setting(record["peers"]["about"]), *tables])
    if "gateway" in record:
        tables = map(markdown, gateway_tables(record["gateway"]["gateway"]))
        made["gateway"] = "\n\n".join([setting(record["gateway"]["about"]), *tables])
    if "gateways" in record:
        tables = map(markdown, gateway_tables(record["gateways"]["rows"], "peer"))
        made["gateways"] = "\n\n".join([setting(record["gateways"]["about"]), *tables])
    return made


def written(text: str, record: Mapping[str, Any]) -> str:
    """Return a document with what was measured between its marks.

    Raises:
        ValueError: It has no marks for a part.
    """
    for name, made in parts(record).items():
        mark, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(mark)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"the document has no marks for {name}")
        text = f"{before}{mark}{made}\n\n{end}{after}"
    return text
