"""The resource definition: what is filled in, what is refused and how, and that the operator reads what is stored."""

from typing import Any

import pytest
from automq_operator.spec import AutoMQClusterSpec
from twins.admission import admit, broken_rules, definition, schema


def resource(**spec: Any) -> dict[str, Any]:
    """The fifteen lines of the README, changed."""
    base = {"storage": {"s3": {"bucket": "orders-kafka", "region": "eu-central-1"}}}
    return {
        "apiVersion": "automq.io/v1alpha1",
        "kind": "AutoMQCluster",
        "metadata": {"name": "orders"},
        "spec": base | spec,
    }


def refusals(old: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    return admit(resource(**spec), admit(old)[0] if old else None)[1]


def test_a_bucket_is_all_that_must_be_given() -> None:
    stored, problems = admit(resource())
    assert problems == []
    spec = AutoMQClusterSpec.model_validate(stored["spec"])
    assert spec == AutoMQClusterSpec.model_validate(resource()["spec"]), (
        "defaults of the schema and of the operator agree"
    )
    assert (spec.brokers.replicas, spec.wal.size, spec.listeners[0].port) == (3, "10Gi", 9092)


def test_the_example_of_the_documentation_is_admitted() -> None:
    problems = refusals(
        brokers={"replicas": 3},
        wal={"type": "EBS", "storageClassName": "gp3", "size": "10Gi"},
        autoscaling={"mode": "Watermark", "minReplicas": 3, "maxReplicas": 12},
    )
    assert problems == []


def test_scale_is_served_with_a_selector_that_is_a_string_and_replicas_that_are_always_there() -> None:
    version = definition()["spec"]["versions"][0]
    scale = version["subresources"]["scale"]
    assert scale["specReplicasPath"] == ".spec.brokers.replicas"
    assert schema()["properties"]["status"]["properties"]["selector"]["type"] == "string"
    assert scale["labelSelectorPath"] == ".status.selector"
    assert admit(resource())[0]["spec"]["brokers"]["replicas"] == 3


def test_the_schema_is_structural() -> None:
    def walk(node: dict[str, Any], path: str) -> None:
        assert "type" in node, path
        assert not {"$ref", "anyOf", "oneOf", "allOf", "additionalItems", "$defs"} & set(node), path
        assert not ("properties" in node and "additionalProperties" in node), path
        for key, each in node.get("properties", {}).items():
            walk(each, f"{path}.{key}")
        if "items" in node:
            walk(node["items"], f"{path}[]")

    walk(schema(), "")


def test_defaults_keep_the_rules_as_they_stand() -> None:
    """The API server holds a default against the rules before it fills in the parts, and refuses the definition else."""

    def walk(node: dict[str, Any], path: str) -> None:
        if "default" in node:
            assert broken_rules(node["default"], None, node) == [], path
        for key, each in node.get("properties", {}).items():
            walk(each, f"{path}.{key}")

    walk(schema(), "")


WRONG = [
    ({"brokers": {"replicas": 0}}, "0 is less than the minimum"),
    ({"wal": {"size": "10G"}}, "does not match"),
    ({"replicas": 3}, "unexpected"),
    ({"autoscaling": {"minReplicas": 4}}, "outside autoscaling.minReplicas"),
    ({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas is above maxReplicas"),
    ({"autoscaling": {"mode": "Watermark", "lowWatermark": 0.7}}, "too near"),
    ({"listeners": [{"name": "a"}, {"name": "b"}]}, "two listeners have the same port"),
    ({"listeners": [{"name": "a", "port": 9644}]}, "belong to the brokers themselves"),
    ({"listeners": [{"name": "internal"}]}, "belong to the brokers themselves"),
    ({"listeners": [{"name": "a", "clientAuthentication": "Tls"}]}, "needs tls: true"),
    ({"listeners": [{"name": "a", "tls": True}]}, "names no certificate"),
    ({"listeners": [{"name": "a", "type": "NodePort"}]}, "needs advertised.hostTemplate"),
    (
        {"listeners": [{"name": "a", "type": "LoadBalancer", "advertised": {"hostTemplate": "kafka.example.com"}}]},
        "gives every broker the same address",
    ),
    ({"security": {"tls": {}}}, "give one of"),
    ({"security": {"tls": {"generated": {}, "certificateSecret": "mine"}}}, "give one of"),
    ({"security": {"tls": {"generated": {"authorityDays": 30}}}}, "at least four times certificateDays"),
    ({"wal": {"type": "S3", "storageClassName": "gp3"}}, "there is no volume"),
    ({"wal": {"type": "S3", "iops": 6000}}, "there is no volume"),
    ({"wal": {"s3": {"bucket": "logs"}}}, "wal.s3 needs wal.type S3"),
    ({"wal": {"type": "S3"}, "deletionPolicy": "Delete"}, "there are none"),
    ({"brokers": {"config": {"node.id": "1"}}}, "the operator itself gives to brokers"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_resource_is_refused_with_a_clear_message(spec: dict[str, Any], message: str) -> None:
    assert any(message in each for each in refusals(**spec)), refusals(**spec)


FIXED = [
    ({"wal": {"storageClassName": "gp3"}}, {"wal": {"storageClassName": "io2"}}, "storageClassName cannot be changed"),
    ({"wal": {"storageClassName": "gp3"}}, {}, "storageClassName cannot be changed"),
    ({}, {"wal": {"volumeMode": "Block"}}, "volumeMode cannot be changed"),
    ({}, {"wal": {"size": "9Gi"}}, "may only grow"),
    ({}, {"wal": {"type": "S3"}}, "wal.type cannot be changed"),
    ({"wal": {"type": "S3"}}, {"wal": {"type": "S3", "s3": {"bucket": "logs"}}}, "wal.s3 cannot be moved"),
    ({}, {"storage": {"s3": {"bucket": "another"}}}, "bucket cannot be changed"),
    ({}, {"storage": {"s3": {"bucket": "orders-kafka", "prefix": "p"}}}, "prefix cannot be changed"),
    ({"zones": ["a"]}, {}, "a cluster with zones"),
]


@pytest.mark.parametrize(("before", "after", "message"), FIXED, ids=[message for *_, message in FIXED])
def test_what_would_lose_data_cannot_be_changed(before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    assert any(message in each for each in refusals(resource(**before), **after))


def test_a_volume_may_grow_and_a_zone_may_be_added() -> None:
    assert refusals(resource(wal={"size": "10Gi"}, zones=["a"]), wal={"size": "1Ti"}, zones=["a", "b"]) == []


def test_kubectl_scale_is_refused_while_the_watermark_decides_and_taken_otherwise() -> None:
    watermark = {"autoscaling": {"mode": "Watermark"}}
    assert any(
        "mode Watermark" in each for each in refusals(resource(**watermark), brokers={"replicas": 5}, **watermark)
    )
    assert refusals(resource(), brokers={"replicas": 5}) == []
    assert refusals(resource(**watermark), brokers={"replicas": 5}) == [], "the mode may be left with a number at once"
