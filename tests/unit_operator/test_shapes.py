"""Manifests: what Kubernetes 1.34 takes, what stays the same between versions of the operator, what never goes wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from automq_broker.commands.settings_options import settings_from
from automq_operator import names
from automq_operator.shapes import zones
from automq_operator.shapes.adopter import adopter, read_about
from automq_operator.shapes.brokers import statefulset
from automq_operator.shapes.cluster import Cluster, Installation, Manifest, Zone
from automq_operator.shapes.config import common, config_map, digest, of_nodes, unknown_addresses
from automq_operator.shapes.manifests import internal_secret, manifests
from automq_operator.shapes.pods import revision
from automq_operator.spec import AutoMQClusterSpec
from automq_operator.steps import CreateAdopter
from automq_operator.world import RecoveryKey

GOLDEN = Path(__file__).parent / "golden"
KEY = RecoveryKey(node_id=1001, broker_epoch=7, volume="5d0b3f5e-0000-4000-8000-000000000001")
STEP = CreateAdopter(key=KEY, granted_epoch=9, beside=1000, attempt=1, reason="")

SPECS: dict[str, dict[str, Any]] = {
    "small": {"storage": {"s3": {"bucket": "orders-kafka", "region": "eu-central-1"}}},
    "full": {
        "version": "0.2.0",
        "brokers": {
            "replicas": 5,
            "resources": {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
            "config": {"num.partitions": "12"},
            "template": {
                "labels": {"team": "payments"},
                "annotations": {"example.com/note": "x"},
                "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
                "volumes": [{"name": "extra", "emptyDir": {}}],
                "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                "imagePullSecrets": [{"name": "registry"}],
                "nodeSelector": {"pool": "kafka"},
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
                ],
                "priorityClassName": "kafka",
                "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/kafka"}},
            },
        },
        "zones": ["eu-central-1a", "eu-central-1b"],
        "wal": {"storageClassName": "gp3", "size": "20Gi"},
        "storage": {
            "s3": {
                "bucket": "orders-kafka",
                "prefix": "prod/orders",
                "endpoint": "https://minio.example.com:9000",
                "pathStyle": True,
                "credentialsSecret": {"name": "s3"},
            }
        },
        "listeners": [
            {"name": "plain"},
            {
                "name": "outer",
                "type": "LoadBalancer",
                "port": 9094,
                "tls": True,
                "clientAuthentication": "Tls",
                "advertised": {"hostTemplate": "b{nodeId}.kafka.example.com"},
                "annotations": {"external-dns.alpha.kubernetes.io/hostname": "b{nodeId}.kafka.example.com"},
            },
        ],
        "security": {"tls": {"issuerRef": {"name": "kafka-ca"}}},
    },
    "own_authority": {
        "storage": {"s3": {"bucket": "orders-kafka"}},
        "listeners": [
            {"name": "plain"},
            {"name": "outer", "type": "LoadBalancer", "port": 9094, "tls": True, "clientAuthentication": "Tls"},
        ],
        "security": {"tls": {"generated": {}}},
    },
    "log_in_bucket": {
        "storage": {"s3": {"bucket": "orders-kafka"}},
        "wal": {"type": "S3", "size": "2Gi", "s3": {"bucket": "orders-logs--euc1-az1--x-s3", "region": "eu-central-1"}},
        "zones": ["a", "b"],
    },
    "block": {
        "storage": {"s3": {"bucket": "orders-kafka"}},
        "wal": {"volumeMode": "Block"},
        "listeners": [{"name": "np", "type": "NodePort", "advertised": {"hostTemplate": "nodes.example.com"}}],
    },
}


def cluster(name: str = "small", **changes: Any) -> Cluster:
    spec = AutoMQClusterSpec.model_validate(SPECS[name])
    first = zones.bases(spec.zones, {})
    spread = zones.spread(spec.brokers.replicas, spec.zones)
    made = Cluster(
        name="orders",
        namespace="shop",
        uid="0c8f6f0e-0000-4000-8000-000000000000",
        spec=spec,
        zones=tuple(Zone(name=zone, base=first[zone], replicas=count) for zone, count in spread.items()),
        installation=Installation(
            image_repository="automq/broker",
            version="0.1.0",
            namespace="automq",
            adopter_priority_class="automq-adopter",
            has_pod_monitors=True,
        ),
    )
    return replace(made, **changes)


def everything(made: Cluster) -> list[Manifest]:
    pod = adopter(
        made, STEP if made.spec.zones else replace(STEP, key=replace(KEY, node_id=1)), beside="n1", hosts=["n2", "n1"]
    )
    return [internal_secret(made, "s" * 32, "t" * 32), *manifests(made), pod]


@pytest.mark.parametrize("name", SPECS)
def test_manifests_are_as_they_were(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump_all(everything(cluster(name)), sort_keys=False, width=120)
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"{path.name} is written; look at what it says")
    assert text == path.read_text(), f"delete {path.name} to write it anew, and see what that does to running clusters"


@pytest.mark.parametrize("name", SPECS)
def test_kubernetes_takes_every_manifest(name: str) -> None:
    foreign = {"PodMonitor", "Certificate"}
    for each in everything(cluster(name)):
        if each["kind"] not in foreign:
            kubernetes_validate.validate(each, "1.34", strict=True)


REVISIONS = {
    "small": "799506b38e",
    "full": "90fcb55fe4",
    "own_authority": "b8916fd5a8",
    "log_in_bucket": "878814aa16",
    "block": "435a9c20a8",
}


@pytest.mark.parametrize("name", SPECS)
def test_a_new_version_of_the_operator_rolls_no_brokers(name: str) -> None:
    """Whoever changes one of these restarts every broker of every cluster at the operator's next update."""
    pinned = cluster(name)
    pinned = replace(pinned, spec=pinned.spec.model_copy(update={"version": "0.1.0"}))
    assert revision(pinned) == REVISIONS[name]


def test_the_revision_depends_on_pods_and_settings_and_neither_on_zones_nor_on_how_many() -> None:
    before = cluster("full")
    assert revision(replace(before, zones=before.zones[:1])) == revision(before)
    changed = before.spec.brokers.model_copy(update={"config": {"num.partitions": "13"}})
    assert revision(replace(before, spec=before.spec.model_copy(update={"brokers": changed}))) != revision(before)
    assert revision(replace(before, restart="now")) != revision(before)


@pytest.mark.parametrize("name", SPECS)
def test_the_broker_takes_the_configuration(name: str, tmp_path: Path) -> None:
    addresses = {("np", each): ("", 31000 + each) for each in range(3)}
    addresses |= {("outer", each): (f"lb{each}.example.com", 30000) for each in range(3)}
    for file, text in config_map(cluster(name, addresses=addresses))["data"].items():
        if file != names.COMMON_KEY:
            path = tmp_path / file
            path.write_text(text)
            settings = settings_from(path, {}, ())
            assert file == f"{settings.node.node_id}.properties"
            assert settings.cluster.inter_broker_listener_name == "INTERNAL"


def test_a_log_in_a_bucket_is_what_the_broker_understands_by_it(tmp_path: Path) -> None:
    path = tmp_path / "0.properties"
    path.write_text(config_map(cluster("log_in_bucket"))["data"]["0.properties"])
    settings = settings_from(path, {}, ())
    assert settings.wal_bucket_uri == "0@s3://orders-logs--euc1-az1--x-s3?region=eu-central-1"
    assert settings.wal.capacity == 2 << 30
    same = cluster("log_in_bucket")
    wal = same.spec.wal.model_copy(update={"s3": None})
    path.write_text(common(replace(same, spec=same.spec.model_copy(update={"wal": wal}))))
    settings = settings_from(path, {}, ("node.id=0",))
    assert settings.wal_bucket_uri == settings.bucket_uri == "s3://orders-kafka"


def test_secrets_are_files_and_never_environment_nor_configuration() -> None:
    for each in manifests(cluster("full")):
        text = json.dumps(each)
        assert "secretKeyRef" not in text
        assert "envFrom" not in text


def _pods(made: Cluster) -> list[Manifest]:
    sets = [each["spec"]["template"]["spec"] for each in manifests(made) if each["kind"] == "StatefulSet"]
    return [*sets, everything(made)[-1]["spec"]]


@pytest.mark.parametrize("name", SPECS)
def test_pods_fit_the_restricted_profile_and_have_no_token(name: str) -> None:
    for pod in _pods(cluster(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for volume in pod["volumes"]:
            assert set(volume) & {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}, volume


def _matches(chosen: dict[str, str], labels: dict[str, str]) -> bool:
    return chosen.items() <= labels.items()


def test_no_selector_matches_an_adopter_but_its_own_policy() -> None:
    made = cluster("full")
    labels = everything(made)[-1]["metadata"]["labels"]
    for each in manifests(made):
        spec = each.get("spec", {})
        chosen = spec.get("selector") or spec.get("podSelector") or {}
        chosen = chosen.get("matchLabels", chosen)
        is_own = each["metadata"]["name"] == "orders-adopter"
        assert not chosen or _matches(chosen, labels) == is_own, each["metadata"]["name"]
    assert not _matches(names.selector("orders"), labels), "an autoscaler would count it"


def test_the_scale_selector_matches_brokers_of_all_zones() -> None:
    for each in manifests(cluster("full")):
        if each["kind"] == "StatefulSet":
            assert _matches(names.selector("orders"), each["spec"]["template"]["metadata"]["labels"])


def test_an_adopter_says_again_what_it_is_about() -> None:
    key, about = read_about(everything(cluster("full"))[-1])
    assert key == KEY
    assert (about["grantedEpoch"], about["beside"], about["attempt"]) == (9, 1000, 1)


def test_node_ids_stay_with_their_zones_whatever_is_added_or_taken_away() -> None:
    first = zones.bases(["a", "b"], {})
    assert first == {"a": 0, "b": 1000}
    assert zones.bases(["c", "b"], first) == {"a": 0, "b": 1000, "c": 2000}
    assert zones.wanted_node_ids(3, ["a", "b"], first) == {0: "a", 1: "a", 1000: "b"}


@pytest.mark.parametrize("count", range(2, 12))
def test_one_broker_less_takes_away_one_and_moves_no_other(count: int) -> None:
    first = zones.bases(["a", "b", "c"], {})
    larger = zones.wanted_node_ids(count, ["a", "b", "c"], first)
    smaller = zones.wanted_node_ids(count - 1, ["a", "b", "c"], first)
    assert len(larger) == count
    assert smaller.items() < larger.items()
    (gone,) = set(larger) - set(smaller)
    assert all(node < gone for node, zone in smaller.items() if zone == larger[gone]), "the highest of its zone"


def test_a_configuration_keeps_what_it_said_when_brokers_are_added() -> None:
    before = cluster("small")
    after = replace(before, zones=(replace(before.zones[0], replicas=4),))
    old, new = config_map(before), config_map(after)
    assert old["metadata"]["name"] == new["metadata"]["name"]
    assert old["data"].items() < new["data"].items()
    assert of_nodes(after, old["data"]["common"], [0, 1, 2]) == old
    assert digest(common(before)) in old["metadata"]["name"]


def test_a_load_balancers_own_address_is_waited_for_and_then_told() -> None:
    listener = {"name": "outer", "type": "LoadBalancer", "port": 9094}
    spec = AutoMQClusterSpec.model_validate(SPECS["small"] | {"listeners": [listener]})
    waiting = cluster("small", spec=spec)
    assert unknown_addresses(waiting) == ["orders-outer-0", "orders-outer-1", "orders-outer-2"]
    known = replace(waiting, addresses={("outer", each): (f"lb{each}.example.com", 30000) for each in range(3)})
    assert unknown_addresses(known) == []
    assert "OUTER://lb2.example.com:9094" in config_map(known)["data"]["2.properties"]


def test_a_node_port_is_told_as_its_service_got_it() -> None:
    known = cluster("block", addresses={("np", each): ("", 31000 + each) for each in range(3)})
    assert "NP://nodes.example.com:31002" in config_map(known)["data"]["2.properties"]


def test_the_log_fits_on_the_file_system_of_its_volume() -> None:
    """ext4 leaves 9.75 GiB of 10 (watched on a real volume), so the broker measures; a larger one is a reason to start anew."""
    lines = dict(line.split("=", 1) for line in common(cluster()).splitlines())
    assert lines["s3.wal.capacity"] == "-1"
    before = cluster()
    wal = before.spec.wal.model_copy(update={"size": "20Gi"})
    after = replace(before, spec=before.spec.model_copy(update={"wal": wal}))
    assert common(after) == common(before)
    assert revision(after) != revision(before)


@pytest.mark.parametrize("zone", ["a", "northamerica-northeast1-a", "x" * 30])
def test_names_leave_room_for_the_revision_label(zone: str) -> None:
    name = names.statefulset("n" * 40, zone)
    assert len(f"{name}-{'0' * 10}") <= 63
    assert names.statefulset("n" * 40, zone + "b") != name


def test_a_zone_shares_its_name_with_no_other_cluster() -> None:
    assert statefulset(cluster("small"), Zone(name="", base=0, replicas=1))["metadata"]["name"] == "orders-broker"
