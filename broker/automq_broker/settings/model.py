"""All settings together, frozen: typed groups for assembly, and rows of text for people and for DescribeConfigs."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from automq_broker.contract.config_rows import ConfigRow, ConfigSource, ConfigSynonym
from automq_broker.kernel.errors import Refused
from automq_broker.settings import listeners as addresses
from automq_broker.settings.balancer import BalancerSettings
from automq_broker.settings.cluster import ClusterSettings
from automq_broker.settings.fields import MIB, Spec, Update, specs_of
from automq_broker.settings.groups import GroupSettings
from automq_broker.settings.ignored import foreign_keys, why_ignored
from automq_broker.settings.load import ALIASES, GROUPS, SPECS, Sorted, build_groups, effective, sort_out
from automq_broker.settings.network import NetworkSettings
from automq_broker.settings.node import NodeSettings, RecoverySettings, TlsSettings
from automq_broker.settings.sources import Given, from_dynamic, from_environment, from_properties
from automq_broker.settings.storage import BucketSettings, CacheSettings, WalSettings
from automq_broker.settings.topics import TopicSettings
from automq_broker.settings.values import format_value

_FIELDS: dict[str, tuple[str, str]] = {
    spec.name: (group, attribute) for group, model in GROUPS.items() for attribute, spec in specs_of(model)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredKey:
    """A given key that has no effect, and why; shown once at the start."""

    key: str
    origin: str
    reason: str


WHOLE_VOLUME: Final = -1
"""s3.wal.capacity of a log that has its volume to itself."""
WAL_BYTES_MIN: Final = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One broker's settings. Immutable: a change at run time is a new value from `with_dynamic`."""

    node: NodeSettings
    network: NetworkSettings
    cluster: ClusterSettings
    balancer: BalancerSettings
    tls: TlsSettings
    topics: TopicSettings
    groups: GroupSettings
    bucket: BucketSettings
    wal: WalSettings
    cache: CacheSettings
    recovery: RecoverySettings
    given: Sorted = field(repr=False, compare=False)
    """Every value that was given, by name, so that rows can say where each came from."""

    static_layers: tuple[tuple[Given, ...], ...] = field(repr=False, compare=False)

    @property
    def ignored(self) -> list[IgnoredKey]:
        """Keys that were given and have no effect, in the order in which they were found."""
        return [IgnoredKey(key=g.key, origin=g.origin, reason=why) for g, why in self.given.ignored.values()]

    @property
    def listeners(self) -> list[addresses.Listener]:
        """What to bind; the listeners of Kafka's own controllers are left out."""
        protocols = addresses.parse_protocol_map(self.network.listener_security_protocol_map)
        return addresses.bound_listeners(self.network.listeners, protocols, self._controller_names)

    @property
    def _controller_names(self) -> list[str]:
        names = self._foreign_value("controller.listener.names") or ""
        return [name.strip().upper() for name in names.split(",")]

    @property
    def inter_broker_listener(self) -> str | None:
        """The listener for other brokers; None for a lone broker. Raises Refused for one that serves clients too."""
        if not self.cluster.inter_broker_secret_file:
            return None
        name = (self.cluster.inter_broker_listener_name or "").upper()
        names = [listener.name for listener in self.listeners]
        if name not in names or len(names) < 2:
            raise Refused(
                "automq.inter.broker.secret.file needs inter.broker.listener.name to be one of several listeners, "
                f"for brokers alone; it is {name or 'unset'}, the listeners are {', '.join(names)}"
            )
        return name

    @property
    def endpoints(self) -> list[addresses.Endpoint]:
        """What clients are told, in the order of `listeners`; port 0 where the system chooses."""
        return addresses.advertised_endpoints(self.listeners, self.network.advertised_listeners, self._controller_names)

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Host and port of the admin page, or None if it is switched off."""
        value = self.node.admin_listener
        return addresses.parse_host_port("admin.listener", value) if value else None

    @property
    def admin_token_file(self) -> Path | None:
        """The file of the admin API's token, or None if nothing may be changed through it."""
        return Path(self.node.admin_token_file) if self.node.admin_token_file else None

    @property
    def ip_limits(self) -> dict[str, int]:
        """Limits of connections for certain addresses; raises Refused."""
        found = {}
        for entry in self.network.max_connections_per_ip_overrides:
            address, _, count = entry.rpartition(":")
            if not address or not count.isdigit():
                raise Refused(f"max.connections.per.ip.overrides: {entry!r} is not understood; allowed: address:count")
            found[address.strip("[]")] = int(count)
        return found

    @property
    def data_dir(self) -> Path:
        """The data directory as an absolute path."""
        return Path(os.path.abspath(self.node.data_dir))

    @property
    def bucket_uri(self) -> str:
        """The bucket's URI; a directory below the data directory unless one is given."""
        return self.bucket.data_buckets or str(self.data_dir / "bucket")

    @property
    def wal_uri(self) -> str:
        """The write-ahead log's URI; a file below the data directory unless one is given."""
        return self.wal.path or str(self.data_dir / "wal" / "wal.bin")

    @property
    def wal_bucket_uri(self) -> str | None:
        """The URI of the bucket in which a write-ahead log without a disk lies; None for one on a disk."""
        plain = re.sub(r"^-?\d+@", "", self.wal_uri)
        if plain == "s3":
            return self.bucket_uri
        return self.wal_uri if plain.startswith("s3://") else None

    @property
    def upload_threshold_bytes(self) -> int:
        """The effective s3.wal.upload.threshold."""
        given = self.bucket.upload_threshold
        if given > 0:
            return given
        return min(500 * MIB, self.wal.capacity // 3) if self.wal.capacity != WHOLE_VOLUME else 500 * MIB

    def tls_of(self, listener: str) -> TlsSettings:
        """TLS settings of one listener: the common ones, and what `listener.name.<name>.ssl...` says otherwise."""
        own = self.given.per_listener.get(listener.upper(), {})
        if not own:
            return self.tls
        winners = _winners(self.given)
        settings: TlsSettings = build_groups({**winners, **own})["tls"]
        return settings

    def with_wal_capacity(self, capacity_bytes: int) -> "Settings":
        """These settings with a capacity that was measured. Raises Refused like any other value."""
        measured = Given(key="s3.wal.capacity", value=str(capacity_bytes), origin="the volume's size")
        return _build((*self.static_layers, (measured,)), ())

    def with_dynamic(self, *, cluster: Mapping[str, str], broker: Mapping[str, str] | None = None) -> "Settings":
        """These settings with the dynamic configs of the metadata on top, in place of any earlier ones.

        Raises Refused for an unknown key, an impossible value, or a key that cannot change at run time.
        """
        for key in (*cluster, *(broker or {})):
            if key in SPECS and SPECS[key].update is Update.READ_ONLY:
                raise Refused(f"{key} cannot change at run time; set it in the configuration and restart")
        dynamic = (
            tuple(from_dynamic(cluster, ConfigSource.DYNAMIC_DEFAULT_BROKER)),
            tuple(from_dynamic(broker or {}, ConfigSource.DYNAMIC_BROKER)),
        )
        return _build(self.static_layers, dynamic)

    def text(self, name: str) -> str | None:
        """The effective value of any key that Kafka or we know, as text; None for a null. Raises KeyError."""
        name = ALIASES.get(name, name)
        if name in _FIELDS:
            return format_value(self._value(name))
        return self._foreign_value(name)

    def describe(self, *, with_foreign: bool = False) -> list[ConfigRow]:
        """One row per setting in the order of the documentation; with `with_foreign` Kafka's other keys after them."""
        rows = [self._row(spec) for spec in SPECS.values()]
        return rows + [self._foreign_row(name) for name in sorted(foreign_keys())] if with_foreign else rows

    def _value(self, name: str) -> Any:
        group, attribute = _FIELDS[name]
        return getattr(getattr(self, group), attribute)

    def _foreign_value(self, name: str) -> str | None:
        if name in self.given.ignored:
            return self.given.ignored[name][0].value
        return foreign_keys()[name].default

    def _row(self, spec: Spec) -> ConfigRow:
        candidates = effective(self.given.settings.get(spec.name, []), spec.name)
        default = format_value(spec.default)
        value = self.text(spec.name)
        return ConfigRow(
            name=spec.name,
            value=None if spec.is_sensitive else value,
            default=default,
            type=spec.kind,
            source=candidates[0].source if candidates else ConfigSource.DEFAULT,
            origin=candidates[0].origin if candidates else "default",
            is_read_only=spec.update is Update.READ_ONLY,
            is_sensitive=spec.is_sensitive,
            doc=f"{spec.meaning} {spec.why}",
            unit=spec.unit,
            allowed=spec.allowed,
            synonyms=tuple(self._synonyms(spec)),
        )

    def _synonyms(self, spec: Spec) -> Iterable[ConfigSynonym]:
        for name in (spec.name, *(s for s in spec.synonyms if s in SPECS)):
            own = SPECS[name]
            for given in effective(self.given.settings.get(name, []), name):
                value = None if own.is_sensitive else given.value.strip()
                yield ConfigSynonym(name=given.key, value=value, source=given.source)
            if own.default is not None:
                yield ConfigSynonym(name=name, value=format_value(own.default), source=ConfigSource.DEFAULT)

    def _foreign_row(self, name: str) -> ConfigRow:
        key = foreign_keys()[name]
        is_given = name in self.given.ignored
        is_sensitive = key.kind.name == "PASSWORD"
        source = ConfigSource.STATIC_BROKER if is_given else ConfigSource.DEFAULT
        value = None if is_sensitive else self._foreign_value(name)
        synonyms = () if value is None else (ConfigSynonym(name=name, value=value, source=source),)
        return ConfigRow(
            name=name,
            value=value,
            default=key.default,
            type=key.kind,
            source=source,
            origin=self.given.ignored[name][0].origin if is_given else "default",
            is_read_only=True,
            is_sensitive=is_sensitive,
            doc=f"No effect: {why_ignored(name) or 'it is refused where it is set'}.",
            synonyms=synonyms,
            is_used=False,
        )


def load_settings(
    *, config_file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Iterable[Given] = ()
) -> Settings:
    """Settings from a properties file, then the environment, then flags. Raises Refused with one clear line."""
    layers = (
        tuple(from_properties(config_file)) if config_file is not None else (),
        tuple(from_environment(environment or {}, [*SPECS, *ALIASES, *foreign_keys()])),
        tuple(flags),
    )
    return _build(layers, ())


def _winners(given: Sorted) -> dict[str, Given]:
    return {name: effective(candidates, name)[0] for name, candidates in given.settings.items()}


def _build(static: tuple[tuple[Given, ...], ...], dynamic: tuple[tuple[Given, ...], ...]) -> Settings:
    given = sort_out((*static, *dynamic))
    settings = Settings(**build_groups(_winners(given)), given=given, static_layers=static)
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    """Rules over several settings; raises Refused. Parsing the derived values is a check as well."""
    _ = settings.endpoints, settings.inter_broker_listener, settings.admin_address, settings.ip_limits
    if settings.groups.group_min_session_timeout_ms > settings.groups.group_max_session_timeout_ms:
        raise Refused("group.min.session.timeout.ms must not be larger than group.max.session.timeout.ms")
    capacity = settings.wal.capacity
    if capacity == WHOLE_VOLUME:
        if settings.wal_bucket_uri is not None:
            raise Refused("s3.wal.capacity=-1 is a part of a volume, and a write-ahead log in a bucket has none")
    elif capacity < WAL_BYTES_MIN:
        raise Refused(f"s3.wal.capacity={capacity}: allowed are -1, and {WAL_BYTES_MIN} or more")
    elif settings.upload_threshold_bytes > capacity // 2:
        raise Refused(
            f"s3.wal.upload.threshold={settings.upload_threshold_bytes} needs a larger write-ahead log; "
            f"allowed: at most half of s3.wal.capacity={settings.wal.capacity}"
        )
    _check_tls(settings)


def _check_tls(settings: Settings) -> None:
    secured = [listener.name for listener in settings.listeners if listener.is_tls]
    if settings.node.admin_security_protocol == "SSL":
        secured.append("ADMIN")
    for name in secured:
        tls = settings.tls_of(name)
        if not tls.keystore_location and not (tls.keystore_key and tls.keystore_certificate_chain):
            raise Refused(
                f"listener {name} is SSL: ssl.keystore.location must name a PEM file with key and certificates"
            )
        if tls.client_auth != "none" and not (tls.truststore_location or tls.truststore_certificates):
            raise Refused(f"ssl.client.auth={tls.client_auth} on listener {name} needs ssl.truststore.location")


__all__ = ["IgnoredKey", "Settings", "load_settings"]
