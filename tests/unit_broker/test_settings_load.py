"""Settings: where values come from, what is refused and in which words, what is ignored and why."""

from pathlib import Path

import pytest
from automq_broker.assembly.knobs import balancer_knobs
from automq_broker.cluster.balance import Goal
from automq_broker.contract.config_rows import ConfigSource
from automq_broker.kernel.errors import Refused
from automq_broker.settings import from_assignments, load_settings, variable_name
from automq_broker.settings.fields import Update
from automq_broker.settings.ignored import foreign_keys, why_ignored, why_refused
from automq_broker.settings.load import ALIASES, SPECS
from automq_broker.settings.values import format_value, parse_value


def _load(*assignments: str, environment: dict[str, str] | None = None, config_file: Path | None = None):
    return load_settings(config_file=config_file, environment=environment, flags=from_assignments(assignments))


def test_without_anything_a_broker_listens_on_loopback_with_its_data_in_the_working_directory() -> None:
    settings = _load()
    assert [(x.name, x.host, x.port, x.is_tls) for x in settings.listeners] == [("PLAINTEXT", "127.0.0.1", 9092, False)]
    assert settings.admin_address == ("127.0.0.1", 9644)
    assert settings.bucket_uri == str(Path.cwd() / "data" / "bucket")
    assert settings.topics.retention_ms == 7 * 86_400_000
    assert settings.upload_threshold_bytes == (1 << 30) // 3
    assert settings.ignored == []


def test_later_places_win(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("num.partitions=2\nbroker.rack=a\nmessage.max.bytes=100\nnode.id=9\n")
    settings = _load(
        "num.partitions=4", environment={"AUTOMQ_NUM_PARTITIONS": "3", "AUTOMQ_BROKER_RACK": "b"}, config_file=file
    )
    dynamic = settings.with_dynamic(cluster={"message.max.bytes": "200"}, broker={})
    closer = settings.with_dynamic(cluster={"message.max.bytes": "200"}, broker={"message.max.bytes": "300"})
    assert (settings.topics.num_partitions, settings.node.broker_rack, settings.node.node_id) == (4, "b", 9)
    assert [s.topics.message_max_bytes for s in (settings, dynamic, closer)] == [100, 200, 300]
    assert closer.with_dynamic(cluster={}).topics.message_max_bytes == 100


def test_every_value_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("# mine\nmessage.max.bytes = 100\n")
    rows = {
        row.name: row
        for row in _load("num.partitions=4", environment={"AUTOMQ_BROKER_RACK": "b"}, config_file=file)
        .with_dynamic(cluster={"message.max.bytes": "200"})
        .describe()
    }
    assert rows["message.max.bytes"].origin == "dynamic default of all brokers"
    assert rows["num.partitions"].origin == "--set num.partitions"
    assert rows["broker.rack"].origin == "environment AUTOMQ_BROKER_RACK"
    assert rows["node.id"].origin == "default"
    synonyms = [(s.value, s.source) for s in rows["message.max.bytes"].synonyms]
    assert synonyms == [
        ("200", ConfigSource.DYNAMIC_DEFAULT_BROKER),
        ("100", ConfigSource.STATIC_BROKER),
        ("1048588", ConfigSource.DEFAULT),
    ]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("num.partition=3", "allowed there: an integer, 1 or more; the nearest name is num.partitions"),
        ("no.such.thing=1", "no.such.thing=1 is not a setting"),
        ("num.partitions=0", "num.partitions=0 is not possible; allowed: an integer, 1 or more"),
        ("num.partitions=many", "num.partitions=many is not possible"),
        ("num.partitions=1.5", "is not possible"),
        ("num.partitions=٣", "is not possible"),
        ("num.partitions=3000000000", "is not possible"),
        ("auto.create.topics.enable=yes", "allowed: true or false"),
        ("log.cleanup.policy=delete,shrink", "allowed: any of compact, delete"),
        ("compression.type=brotli", "allowed: one of uncompressed, zstd"),
        ("listeners=PLAINTEXT://:99999", "listeners: 'PLAINTEXT://:99999' is not an address"),
        ("listeners=INTERNAL://:9092", "INTERNAL has no security protocol"),
        ("listeners=SASL_SSL://:9092", "this version has no SASL mechanism"),
        ("listeners=PLAINTEXT://:1,SSL://:1", "cannot share port 1"),
        ("listeners=SSL://:9093", "ssl.keystore.location must name a PEM file"),
        ("listeners=", "at least one listener"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "must name a host that clients can reach"),
        ("advertised.listeners=OTHER://h:1", "OTHER is not in listeners"),
        ("admin.listener=9644", "'9644' is not an address"),
        ("max.connections.per.ip.overrides=1.2.3.4", "is not understood; allowed: address:count"),
        ("s3.wal.upload.threshold=1073741824", "needs a larger write-ahead log"),
        ("s3.wal.capacity=67108863", "allowed are -1, and 67108864 or more"),
        ("group.max.session.timeout.ms=1", "must not be larger"),
        ("authorizer.class.name=kafka.Authorizer", "would open the broker to everybody"),
        ("process.roles=controller", "there is no separate controller"),
        ("ssl.keystore.type=JKS", "allowed: one of PEM"),
        ("noequals", "allowed is --set key=value"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line_that_helps(assignment: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        _load(assignment)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_the_place_and_hides_secrets(tmp_path: Path) -> None:
    file = tmp_path / "s.properties"
    file.write_text("\nnum.partitions=x\n")
    with pytest.raises(Refused, match=r"from .*s\.properties:2\)"):
        _load(config_file=file)
    with pytest.raises(Refused) as caught:
        _load("ssl.keystore.passwort=hunter2", "x.secret=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_kafka_file_starts_and_says_what_has_no_effect(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text(
        """
        process.roles=broker,controller
        node.id=1
        controller.quorum.bootstrap.servers=localhost:9093
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093
        inter.broker.listener.name=PLAINTEXT
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
        controller.listener.names=CONTROLLER
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
        num.network.threads=3
        num.io.threads=8
        socket.send.buffer.bytes=102400
        socket.request.max.bytes=104857600
        log.dirs=/tmp/kraft-combined-logs
        num.partitions=1
        num.recovery.threads.per.data.dir=1
        offsets.topic.replication.factor=1
        transaction.state.log.min.isr=1
        log.retention.hours=168
        log.segment.bytes=1073741824
        log.retention.check.interval.ms=300000
        zookeeper.connect=localhost:2181
        listener.name.controller.ssl.keystore.location=/x
        s3.ops.buckets=0@s3://x
        """
    )
    settings = _load(config_file=file)
    assert [x.name for x in settings.listeners] == ["PLAINTEXT"]
    assert [(x.name, x.host, x.port) for x in settings.endpoints] == [("PLAINTEXT", "localhost", 9092)]
    assert {"log.dirs", "zookeeper.connect", "num.io.threads", "s3.ops.buckets"} <= {i.key for i in settings.ignored}
    assert all(i.reason and i.origin.startswith(str(file)) for i in settings.ignored)
    assert settings.text("log.segment.bytes") == "1073741824"
    assert settings.text("log.index.interval.bytes") == "4096"


def test_environment_variables_of_kubernetes_services_are_not_settings() -> None:
    links = {
        "AUTOMQ_SERVICE_HOST": "10.0.0.1", "AUTOMQ_SERVICE_PORT_KAFKA": "9092", "AUTOMQ_PORT": "tcp://10.0.0.1:9092",
        "AUTOMQ_PORT_9092_TCP_ADDR": "10.0.0.1", "AUTOMQ_BOOT_PORT_9092_TCP": "x", "AUTOMQ_CONFIG": "/etc/x", "OTHER": "1",
    }  # fmt: skip
    assert _load(environment=links).node.node_id == 1
    with pytest.raises(Refused, match=r"nod\.id=3 is not a setting.*node\.id.*environment AUTOMQ_NOD_ID"):
        _load(environment={"AUTOMQ_NOD_ID": "3"})


def test_no_two_settings_share_an_environment_variable() -> None:
    names = [*SPECS, *ALIASES, *foreign_keys()]
    assert len({variable_name(name) for name in names}) == len(names)


def test_retention_comes_from_the_finest_unit_given() -> None:
    assert _load("log.retention.hours=1").topics.retention_ms == 3_600_000
    assert _load("log.retention.hours=1", "log.retention.minutes=2").topics.retention_ms == 120_000
    assert _load("log.retention.minutes=2", "log.retention.ms=3").topics.retention_ms == 3
    assert _load("log.retention.hours=-1").topics.retention_ms == -1


def test_an_old_name_counts_unless_the_new_one_is_given() -> None:
    assert _load("broker.id=5").node.node_id == 5
    assert _load("node.id=6", "broker.id=5").node.node_id == 6


def test_listeners_are_advertised_as_bound_unless_told_otherwise() -> None:
    settings = _load(
        "listeners=IN://0.0.0.0:9092,OUT://[::1]:9093", "listener.security.protocol.map=in:plaintext,OUT:PLAINTEXT",
        "advertised.listeners=IN://kafka.example:19092",
    )  # fmt: skip
    assert [(e.name, e.host, e.port) for e in settings.endpoints] == [
        ("IN", "kafka.example", 19092),
        ("OUT", "::1", 9093),
    ]
    everywhere = _load("listeners=PLAINTEXT://:9092").endpoints[0]
    assert everywhere.host not in ("", "0.0.0.0")


def test_one_listener_may_have_tls_settings_of_its_own() -> None:
    settings = _load(
        "listeners=PLAINTEXT://:1,SSL://:2", "ssl.keystore.location=/common.pem", "ssl.client.auth=none",
        "listener.name.ssl.ssl.keystore.location=/own.pem",
    )  # fmt: skip
    assert settings.tls_of("SSL").keystore_location == "/own.pem"
    assert settings.tls_of("PLAINTEXT").keystore_location == "/common.pem"


def test_secrets_are_never_described() -> None:
    settings = _load("ssl.key.password=hunter2", "sasl.jaas.config=hunter2")
    assert "hunter2" not in repr(settings.describe(with_foreign=True))
    row = next(row for row in settings.describe() if row.name == "ssl.key.password")
    assert (row.value, row.is_sensitive, row.source) == (None, True, ConfigSource.STATIC_BROKER)


def test_a_setting_that_needs_a_restart_cannot_be_dynamic() -> None:
    with pytest.raises(Refused, match="cannot change at run time"):
        _load().with_dynamic(cluster={"node.id": "2"})
    with pytest.raises(Refused, match="is not possible"):
        _load().with_dynamic(cluster={}, broker={"message.max.bytes": "-1"})


@pytest.mark.parametrize("spec", SPECS.values(), ids=str)
def test_every_default_is_a_valid_value_in_text_form(spec) -> None:
    text = format_value(spec.default)
    assert text is None or parse_value(spec, text) == spec.default
    assert spec.meaning.endswith(".")
    assert spec.why.endswith(".")
    assert spec.update in Update


def test_every_key_of_kafka_is_ours_or_has_a_reason() -> None:
    without = [key for key in foreign_keys() if why_ignored(key) is None and why_refused(key, "x") is None]
    assert without == []
    assert not set(foreign_keys()) & set(SPECS)
    assert len(foreign_keys()) + len([name for name in SPECS if not name.startswith(("automq.", "s3."))]) > 350


def test_all_of_kafkas_keys_can_be_described() -> None:
    rows = _load().describe(with_foreign=True)
    assert {"log.dirs", "num.io.threads", "node.id", "sasl.enabled.mechanisms"} <= {row.name for row in rows}
    assert len({row.name for row in rows}) == len(rows)


def test_the_balancer_of_an_automq_file_is_ours_with_its_names_and_defaults() -> None:
    goals = "kafka.autobalancer.goals.NetworkOutUsageDistributionGoal,LeaderCountDistributionGoal"
    settings = _load(
        f"autobalancer.controller.goals={goals}",
        "autobalancer.controller.exclude.broker.ids=3, 4",
        "autobalancer.controller.network.out.distribution.detect.avg.deviation=0.2",
        "autobalancer.reporter.metrics.reporting.interval.ms=10000",
    )
    knobs = balancer_knobs(settings)
    assert [aim.goal for aim in knobs.rules.aims] == [Goal.NETWORK_OUT, Goal.LEADERS]
    assert (knobs.rules.aims[0].deviation, knobs.rules.aims[0].floor) == (0.2, 1 << 20)
    assert (knobs.is_enabled, knobs.rules.moves_max, knobs.pacing.interval_s) == (True, 50, 60.0)
    assert knobs.excluded_nodes == {"3", "4"}
    assert [ignored.key for ignored in settings.ignored] == ["autobalancer.reporter.metrics.reporting.interval.ms"]
    changed = settings.with_dynamic(cluster={"autobalancer.controller.enable": "false"})
    assert not balancer_knobs(changed).is_enabled


def test_a_log_that_has_its_volume_to_itself_gets_its_size_when_that_is_measured() -> None:
    unknown = _load("s3.wal.capacity=-1")
    assert unknown.upload_threshold_bytes == 500 << 20
    known = unknown.with_wal_capacity(600 << 20)
    assert (known.wal.capacity, known.upload_threshold_bytes) == (600 << 20, 200 << 20)
    assert known.with_dynamic(cluster={}).wal.capacity == 600 << 20
    with pytest.raises(Refused, match="67108864 or more"):
        unknown.with_wal_capacity(1 << 20)
    with pytest.raises(Refused, match="in a bucket has none"):
        _load("s3.wal.capacity=-1", "s3.wal.path=s3")
