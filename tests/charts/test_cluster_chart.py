"""The cluster's chart: what it makes is admitted by the API server, says what values said, and refuses what cannot be."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from automq_operator.spec import AutoMQClusterSpec
from charts.rendering import CLUSTER, OPERATOR, RenderError, objects, one, render
from twins.admission import admit

Object = dict[str, Any]
BUCKET: Object = {"storage": {"s3": {"bucket": "orders-kafka"}}}

WIDE: Object = {
    "version": "0.2.0",
    "imagePullPolicy": "Always",
    "brokers": {
        "replicas": 4,
        "resources": {"requests": {"cpu": 1, "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
        "config": {"num.partitions": "12"},
        "template": {
            "nodeSelector": {"karpenter.sh/nodepool": "kafka"},
            "tolerations": [{"key": "kafka", "operator": "Exists"}],
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/kafka"}},
        },
    },
    "zones": ["eu-central-1a", "eu-central-1b"],
    "wal": {"storageClassName": "gp3", "size": "20Gi", "retain": {"whenScaled": "Retain"}},
    "storage": {"s3": {"bucket": "orders-kafka", "prefix": "kafka/orders", "region": "eu-central-1"}},
    "listeners": [
        {"name": "plain", "port": 9092},
        {"name": "public", "type": "LoadBalancer", "port": 9094, "tls": True, "clientAuthentication": "Tls",
         "advertised": {"hostTemplate": "b{nodeId}.kafka.example.com"}},
    ],
    "security": {"tls": {"issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}}},
    "autoscaling": {"mode": "Watermark", "minReplicas": 4, "maxReplicas": 12},
    "failover": {"proof": {"cloudApi": "EC2"}, "release": {"taintNode": True}},
    "disruption": {"drainTaints": ["karpenter.sh/disrupted"]},
    "deletionPolicy": "Delete",
    "maintenanceWindows": [{"days": ["Saturday"], "start": "01:30", "minutes": 180}],
    "paused": True,
}  # fmt: skip


def test_a_bucket_is_all_that_must_be_given() -> None:
    (made,) = objects(CLUSTER, BUCKET)
    assert (made["kind"], made["metadata"]["name"], made["metadata"]["namespace"]) == (
        "AutoMQCluster",
        "orders",
        "kafka",
    )
    assert made["spec"] == BUCKET | {"brokers": {"replicas": 3}}
    assert admit(made)[1] == []


def test_every_field_of_the_resource_may_be_given_and_arrives_as_it_is() -> None:
    made = one(objects(CLUSTER, WIDE), "AutoMQCluster")
    assert made["spec"] == WIDE
    assert admit(made)[1] == []
    known = {field.alias or name for name, field in AutoMQClusterSpec.model_fields.items()}
    assert set(WIDE) == known - {"image"}, "image is given in place of version"


def test_where_an_autoscaler_writes_the_number_of_brokers_the_chart_leaves_it_alone() -> None:
    made = one(objects(CLUSTER, BUCKET | {"brokers": {"replicas": None}}), "AutoMQCluster")
    assert "replicas" not in (made["spec"].get("brokers") or {})
    assert admit(made)[0]["spec"]["brokers"]["replicas"] == 3


def test_what_is_beside_the_spec_does_not_go_into_it() -> None:
    values = BUCKET | {"nameOverride": "sales", "labels": {"team": "a"}, "annotations": {"b": "c"}, "global": {"x": 1}}
    made = one(objects(CLUSTER, values), "AutoMQCluster")
    assert made["metadata"]["name"] == "sales"
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["annotations"] == {"b": "c"}
    assert made["spec"] == BUCKET | {"brokers": {"replicas": 3}}


def test_rules_go_where_the_cluster_is_with_the_labels_that_prometheus_selects_by() -> None:
    values = BUCKET | {"monitoring": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}}
    rule = one(objects(CLUSTER, values, release="sales", namespace="shop"), "PrometheusRule")
    assert (rule["metadata"]["namespace"], rule["metadata"]["labels"]["release"]) == ("shop", "prometheus")
    text = yaml.safe_dump(rule)
    assert 'job="shop/sales"' in text
    assert "NAMESPACE/NAME" not in text
    assert "runbook_url: docs/runbooks/AutoMQWalFull.md" in text


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "storage"),
        ({"storage": {"s3": {"bucket": ""}}}, "bucket"),
        (BUCKET | {"replicas": 3}, "additional properties 'replicas' not allowed"),
        (BUCKET | {"brokers": {"replicas": 0}}, "replicas"),
        (BUCKET | {"wal": {"type": "NFS"}}, "type"),
        (BUCKET | {"wal": {"size": "10GB"}}, "size"),
        (BUCKET | {"autoscaling": {"mode": "Auto"}}, "mode"),
        (BUCKET | {"listeners": [{"name": "Plain"}]}, "name"),
        (BUCKET | {"monitoring": {"dashboards": True}}, "dashboards"),
        (BUCKET | {"nameOverride": "Orders"}, "nameOverride"),
    ],
)
def test_wrong_values_are_refused_by_name_before_anything_is_sent(values: Object, complaint: str) -> None:
    with pytest.raises(RenderError, match=complaint):
        render(CLUSTER, values)


def test_a_release_whose_name_cannot_be_a_clusters_is_refused_with_the_way_out() -> None:
    with pytest.raises(RenderError, match="set nameOverride"):
        render(CLUSTER, BUCKET, release="a" * 41)


def notes(chart: Path, values: Object, directory: Path) -> str:
    """What Helm prints after an installation."""
    copy = shutil.copytree(chart, directory / chart.name)
    shutil.move(copy / "templates" / "NOTES.txt", copy / "NOTES.txt")
    (copy / "templates" / "notes.yaml").write_text('kind: Notes\ntext: {{ tpl (.Files.Get "NOTES.txt") . | quote }}\n')
    release = "orders" if chart == CLUSTER else "automq"
    made = [each for each in objects(copy, values, release=release) if each["kind"] == "Notes"]
    return str(made[0]["text"])


def test_the_clusters_notes_say_how_to_wait_for_it_and_where_clients_connect(tmp_path: Path) -> None:
    told = notes(CLUSTER, WIDE, tmp_path)
    assert "kubectl wait amq/orders -n kafka --for=condition=Ready" in told
    assert "orders-bootstrap.kafka.svc:9092" in told
    assert "orders-kafka below kafka/orders" in told
    assert "between 4 and 12 brokers" in told


def test_the_clusters_notes_say_how_it_is_scaled_where_people_do_it(tmp_path: Path) -> None:
    assert "kubectl scale amq orders -n kafka --replicas=5" in notes(CLUSTER, BUCKET, tmp_path)


def test_the_operators_notes_hold_a_first_cluster_that_is_admitted(tmp_path: Path) -> None:
    told = notes(OPERATOR, {"watchNamespaces": ["shop"], "rbac": {"clusterRole": False}}, tmp_path)
    lines = told.partition("<<YAML\n")[2].partition("  YAML")[0].splitlines()
    resource = yaml.safe_load("\n".join(line[2:] for line in lines))
    assert admit(resource)[1] == []
    assert "kubectl apply -n shop" in told
    assert "kubectl get amq -n shop" in told
    assert "rbac.clusterRole is false" in told
    assert "monitoring.prometheusRule" in told
