"""Whether an object is as it is to be: what the operator says must stand there, what others added may.

The API server fills in defaults, writes quantities its own way and leaves out what is empty; none of that is a difference.
The digest of what was applied last tells when something is no longer said at all.
"""

import hashlib
import json
import re
from decimal import Decimal
from typing import Any, Final

from automq_operator import names
from automq_operator.shapes.cluster import Manifest

APPLIED: Final = f"{names.PREFIX}/applied"
_SCALE: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "Ki": Decimal(1 << 10),
    "Mi": Decimal(1 << 20),
    "Gi": Decimal(1 << 30),
    "Ti": Decimal(1 << 40),
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(|n|u|m|k|M|G|T|Ki|Mi|Gi|Ti)")


def marked(manifest: Manifest) -> Manifest:
    """The manifest as it is applied: with the digest of itself."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {APPLIED: _digest(manifest)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def difference(manifest: Manifest, live: Manifest) -> str:
    """Where they first differ, as a path; "" if the object is as it is to be."""
    if live["metadata"].get("annotations", {}).get(APPLIED) != _digest(manifest):
        return _first(manifest, live, "") or "what is said of it"
    return _first(manifest, live, "")


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:12]


def _first(wanted: Any, live: Any, path: str) -> str:
    if wanted in ({}, [], "", None) and live in ({}, [], "", None):
        return ""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, each in wanted.items():
            found = _first(each, live.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return ""
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for position, each in enumerate(wanted):
            found = _first(each, live[position], f"{path}[{position}]")
            if found:
                return found
        return ""
    return "" if wanted == live or _is_same_quantity(wanted, live) else path


def _is_same_quantity(wanted: Any, live: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(live, bool):
        return False
    first, second = _QUANTITY.fullmatch(str(wanted)), _QUANTITY.fullmatch(str(live))
    if first is None or second is None:
        return False
    return Decimal(first[1]) * _SCALE[first[2]] == Decimal(second[1]) * _SCALE[second[2]]


__all__ = ["APPLIED", "difference", "marked"]
