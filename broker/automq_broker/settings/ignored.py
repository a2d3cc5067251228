"""Keys of other people's files: what Kafka and AutoMQ know and this broker does not need, each with the reason.

A file that was written for Kafka must start. What may not be ignored in silence is what somebody relies on for safety:
those keys are refused with the remedy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from automq_broker.contract.config_rows import ConfigType
from automq_broker.settings.kafka_keys import KAFKA_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A key of Kafka's that has no effect here. `default` is Kafka's own, as text."""

    name: str
    kind: ConfigType
    default: str | None


@cache
def foreign_keys() -> dict[str, ForeignKey]:
    """Every broker config of Kafka 4.3 that is not one of ours, by name."""
    found = {}
    for line in KAFKA_KEYS.strip().splitlines():
        name, kind, default = [*line.split(" ", 2), ""][:3]
        found[name] = ForeignKey(name=name, kind=ConfigType[kind], default=None if default == "null" else default)
    return found


# Reasons and the keys they hold for, as shell patterns; the first that fits counts.
_REASONS: tuple[tuple[str, str], ...] = (
    (
        "there is no quorum: the metadata lives in the bucket",
        "process.roles controller.* metadata.* initial.broker.* early.start.listeners "
        "internal.metadata.* server.max.startup.* unstable.* controlled.shutdown.*",
    ),
    (
        "the listener named by inter.broker.listener.name has its protocol from the map",
        "security.inter.broker.protocol",
    ),
    (
        "compaction by key is not part of this version",
        "log.cleaner.*",
    ),
    (
        "all records are in the bucket already, there is no second tier",
        "remote.* log.local.* follower.fetch.* rsm.config.* rlmm.config.*",
    ),
    (
        "Kafka itself removed it",
        "log.message.format.version log.message.downconversion.enable log.message.timestamp.difference.max.ms "
        "inter.broker.protocol.version broker.id.generation.enable reserved.broker.max.id control.plane.listener.name "
        "password.encoder.* host.name port advertised.host.name advertised.port auto.include.jmx.reporter "
        "group.coordinator.new.enable",
    ),
    (
        "records live in the bucket and the write-ahead log: there are no log directories, segments or index files",
        "log.* alter.log.dirs.* num.recovery.* offsets.topic.segment.bytes",
    ),
    (
        "nothing is replicated between brokers: the bucket holds the copies",
        "replica.* replication.* num.replica* unclean.* offsets.topic.replication.factor",
    ),
    (
        "partitions have one owner and no preferred leader",
        "auto.leader.* leader.imbalance.*",
    ),
    (
        "transactions are not part of this version",
        "transaction.* transactional.* add.partitions.to.txn.*",
    ),
    (
        "this group protocol is not part of this version",
        "group.consumer.* group.share.* group.streams.* share.* group.coordinator.rebalance.protocols",
    ),
    (
        "one event loop does this work; there are no such threads or queues",
        "num.io.threads num.network.threads background.threads queued.max.requests *.purgatory.* group.coordinator.* "
        "offsets.commit.timeout.ms offsets.load.buffer.size offsets.topic.compression.codec request.timeout.ms",
    ),
    (
        "no SASL mechanism is part of this version; listeners that need one are refused",
        "sasl.* listener.name.*.sasl.* connections.max.reauth.ms listener.name.*.connections.max.reauth.ms "
        "connection.failed.authentication.* delegation.token.* super.users allow.everyone.if.no.acl.found",
    ),
    (
        "quotas are not part of this version",
        "quota.* client.quota.* max.connection.creation.rate max.incremental.fetch.* max.request.partition.*",
    ),
    (
        "metrics are read from the admin page in Prometheus' format",
        "metric.reporters metrics.* kafka.metrics.* telemetry.*",
    ),
    (
        "this is about Java's own TLS and class loading",
        "ssl.allow.* ssl.endpoint.* ssl.keymanager.* ssl.trustmanager.* ssl.protocol ssl.provider ssl.secure.* "
        "ssl.engine.* ssl.keystore.password ssl.truststore.password listener.name.*.ssl.* security.providers "
        "principal.builder.class listener.name.*.principal.builder.class config.providers",
    ),
    (
        "batches are stored as they were sent, nothing is compressed here",
        "compression.gzip.level compression.lz4.level compression.zstd.level",
    ),
    (
        "this broker opens no Kafka connections of its own",
        "socket.connection.setup.*",
    ),
    (
        "there is no ZooKeeper",
        "zookeeper.*",
    ),
    (
        "the bucket knows which cluster it belongs to, and the write-ahead log is checked against it",
        "cluster.id",
    ),
    (
        "compaction holds one object in memory at a time, so its outputs end at 512 MiB and it needs no cache",
        "s3.stream.object.compaction.max.size.bytes s3.stream.set.object.compaction.cache.size",
    ),
    (
        "all objects are looked at together, every s3.stream.set.object.compaction.interval.minutes",
        "s3.stream.object.compaction.*",
    ),
    (
        "streams in the bucket are the only storage there is",
        "elasticstream.*",
    ),
    (
        "AutoMQ itself replaced it by s3.data.buckets",
        "s3.endpoint s3.region s3.bucket s3.path.style",
    ),
    (
        "brokers tell the controller their load with their heartbeats, no topic or client is needed for it",
        "autobalancer.*",
    ),
    (
        "this part of AutoMQ is not part of this version",
        "s3.ops.buckets s3.wal.thread s3.network.* s3.telemetry.* s3.controller.* s3.max.* s3.stream.allocator.* "
        "s3.metrics.* s3.backpressure.* s3.failover.* "
        "broker.quota.* cluster.quota.* automq.zone.* automq.zonerouter.* automq.table.* "
        "automq.backpressure.* automq.retry.* automq.kafka-go.*",
    ),
)


def why_ignored(key: str) -> str | None:
    """The reason why a key of Kafka's or AutoMQ's has no effect here, or None if neither knows it."""
    fitting = (reason for reason, patterns in _REASONS if any(fnmatchcase(key, p) for p in patterns.split()))
    return next(fitting, None)


def _is_controller_only(value: str) -> bool:
    return "broker" not in [role.strip() for role in value.split(",")]


def _is_set(value: str) -> bool:
    return bool(value.strip())


# Relying on one of these and starting without it would be unsafe.
_REFUSED: dict[str, tuple[Callable[[str], bool], str]] = {
    "authorizer.class.name": (
        _is_set,
        "access control is not part of this version, and ignoring it would open the broker to everybody",
    ),
    "create.topic.policy.class.name": (_is_set, "Java policies cannot run here, and ignoring one lifts its limits"),
    "alter.config.policy.class.name": (_is_set, "Java policies cannot run here, and ignoring one lifts its limits"),
    "process.roles": (_is_controller_only, "this program is a broker; there is no separate controller to start"),
    "ssl.engine.factory.class": (_is_set, "Java classes cannot run here; give PEM files instead"),
    "config.providers": (_is_set, "Java classes cannot run here, so ${...} would stay unresolved; write the values"),
}


def why_refused(key: str, value: str) -> str | None:
    """The reason why a key with this value must stop the start, or None."""
    check, reason = _REFUSED.get(key, (None, ""))
    return reason if check is not None and check(value) else None


__all__ = ["ForeignKey", "foreign_keys", "why_ignored", "why_refused"]
