"""Layers of given values in, validated Settings out, or one clear line that says what is wrong."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from automq_broker.contract.config_rows import ConfigSource
from automq_broker.kernel.errors import Refused
from automq_broker.settings.balancer import BalancerSettings
from automq_broker.settings.cluster import ClusterSettings
from automq_broker.settings.fields import Group, Spec, specs_of
from automq_broker.settings.groups import GroupSettings
from automq_broker.settings.ignored import foreign_keys, why_ignored, why_refused
from automq_broker.settings.network import NetworkSettings
from automq_broker.settings.node import NodeSettings, RecoverySettings, TlsSettings
from automq_broker.settings.sources import Given
from automq_broker.settings.storage import BucketSettings, CacheSettings, WalSettings
from automq_broker.settings.topics import TopicSettings
from automq_broker.settings.values import parse_value

GROUPS: dict[str, type[Group]] = {
    "node": NodeSettings,
    "network": NetworkSettings,
    "cluster": ClusterSettings,
    "balancer": BalancerSettings,
    "tls": TlsSettings,
    "topics": TopicSettings,
    "groups": GroupSettings,
    "bucket": BucketSettings,
    "wal": WalSettings,
    "cache": CacheSettings,
    "recovery": RecoverySettings,
}

SPECS: dict[str, Spec] = {spec.name: spec for group in GROUPS.values() for _, spec in specs_of(group)}

# A second name under which the same value may be given; the main name wins where both are.
ALIASES: dict[str, str] = {"broker.id": "node.id", "queued.max.requests.size.bytes": "queued.max.request.bytes"}

_PER_LISTENER = re.compile(r"listener[.]name[.](?P<listener>[^.]+)[.](?P<key>.+)")


class Sorted:
    """Given values by what they are: settings, overrides of one listener, and keys without effect."""

    def __init__(self) -> None:
        self.settings: dict[str, list[Given]] = {}
        self.per_listener: dict[str, dict[str, Given]] = {}
        self.ignored: dict[str, tuple[Given, str]] = {}

    def add(self, given: Given) -> None:
        """File one value away; raises Refused if nobody knows its key or it must not be ignored."""
        name = ALIASES.get(given.key, given.key)
        if name in SPECS:
            self.settings.setdefault(name, []).append(given)
            return
        if (reason := why_refused(given.key, given.value)) is not None:
            raise Refused(f"{_shown(given)} cannot be honoured: {reason} (from {given.origin})")
        match = _PER_LISTENER.fullmatch(given.key)
        if match is not None and match["key"] in SPECS and match["key"].startswith("ssl."):
            self.per_listener.setdefault(match["listener"].upper(), {})[match["key"]] = given
            return
        if (reason := why_ignored(given.key)) is None and given.key in foreign_keys():
            reason = "it has no effect with this value"
        if reason is None:
            raise Refused(_unknown(given))
        self.ignored[given.key] = (given, reason)


def effective(candidates: Sequence[Given], name: str) -> list[Given]:
    """The values given for one setting, the winning one first: by source, then the main name, then the later one."""
    order = {id(given): position for position, given in enumerate(candidates)}
    return sorted(
        candidates,
        key=lambda g: (g.source, g.key != name and g.source is not ConfigSource.DYNAMIC_BROKER, -order[id(g)]),
    )


def build_groups(winners: Mapping[str, Given]) -> dict[str, Any]:
    """Every group with the winning values in place, validated; raises Refused with one line."""
    built = {}
    for attribute, group in GROUPS.items():
        values = {field: _parsed(spec, winners[spec.name]) for field, spec in specs_of(group) if spec.name in winners}
        try:
            built[attribute] = group(**values)
        except ValidationError as error:
            raise Refused(_first_fault(error, group, winners)) from error
    return built


def _parsed(spec: Spec, given: Given) -> Any:
    try:
        return parse_value(spec, given.value)
    except ValueError as error:
        raise Refused(_impossible(spec, given)) from error


def _first_fault(error: ValidationError, group: type[Group], winners: Mapping[str, Given]) -> str:
    field = error.errors()[0]["loc"][0]
    spec = dict(specs_of(group))[str(field)]
    return _impossible(spec, winners[spec.name])


def _impossible(spec: Spec, given: Given) -> str:
    unit = f" ({spec.unit})" if spec.unit else ""
    value = "<hidden>" if spec.is_sensitive else _cut(given.value)
    return f"{given.key}={value} is not possible; allowed: {spec.allowed}{unit} (from {given.origin})"


def _unknown(given: Given) -> str:
    near = difflib.get_close_matches(given.key, [*SPECS, *ALIASES, *foreign_keys()], n=1, cutoff=0.6)
    hint = f"the nearest name is {near[0]}; " if near else ""
    allowed = f"; allowed there: {SPECS[near[0]].allowed}" if near and near[0] in SPECS else ""
    return f"{_shown(given)} is not a setting{allowed}; {hint}`automq config` lists all (from {given.origin})"


def _shown(given: Given) -> str:
    is_secret = re.search(r"(?i)passw|passphrase|secret|jaas|token|credential|[.]key$", given.key)
    return f"{_cut(given.key)}={'<hidden>' if is_secret else _cut(given.value)}"


def _cut(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= 100 else printable[:97] + "..."


def sort_out(layers: Iterable[Iterable[Given]]) -> Sorted:
    """All layers, the weakest first, filed away."""
    found = Sorted()
    for layer in layers:
        for given in layer:
            found.add(given)
    return found


__all__ = ["ALIASES", "GROUPS", "SPECS", "Sorted", "build_groups", "effective", "sort_out"]
