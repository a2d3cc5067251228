"""Settings of brokers that change at run time: no pod is renewed for them, and nobody is asked twice."""

from typing import Any

from automq_broker.contract.dynamic_configs import DYNAMIC_CONFIGS
from automq_operator.observe.frame import cluster_of, memory_of
from automq_operator.observe.look import Look
from automq_operator.shapes import config
from automq_operator.shapes.cluster import Installation
from automq_operator.shapes.pods import revision
from twins.kube_world import S3, KubeWorld

WEEK = {"log.retention.ms": "604800000"}


def running(config: dict[str, str]) -> tuple[KubeWorld, Any]:
    world = KubeWorld.of()
    world.create(brokers={"config": config})
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def pods_of(world: KubeWorld) -> set[str]:
    return {each["metadata"]["uid"] for each in world.api.of("Pod")}


def test_a_dynamic_setting_is_changed_and_taken_back_while_every_broker_runs_on() -> None:
    world, keeper = running(WEEK)
    before = pods_of(world)
    assert world.configs == WEEK
    world.change(brokers={"config": {"log.retention.ms": "1000", "automq.log.level": "debug"}})
    world.settle(keeper)
    assert world.configs == {"log.retention.ms": "1000", "automq.log.level": "debug"}
    world.change(brokers={"config": {"automq.log.level": "debug"}})
    world.settle(world.operator())
    assert world.configs == {"automq.log.level": "debug"}, "also by an operator that did not set it"
    assert pods_of(world) == before


def test_nothing_is_sent_while_nothing_differs() -> None:
    world, keeper = running(WEEK)
    sent, writes = list(world.configured), len(world.api.writes)
    world.run(keeper, 30, seconds=1.0)
    world.run(world.operator(), 5)
    assert (world.configured, world.api.writes[writes:]) == (sent, [])


def test_what_somebody_else_set_stays_and_what_they_changed_of_ours_is_set_again() -> None:
    world, keeper = running(WEEK)
    assert world.configs is not None
    world.configs |= {"compression.type": "zstd", "log.retention.ms": "5"}
    world.settle(keeper)
    assert world.configs == WEEK | {"compression.type": "zstd"}
    world.change(brokers={"config": {}})
    world.settle(keeper)
    assert world.configs == {"compression.type": "zstd"}


def test_a_mixed_change_renews_the_brokers_for_its_static_part() -> None:
    world, keeper = running(WEEK)
    before = pods_of(world)
    world.change(brokers={"config": {"log.retention.ms": "1000", "num.partitions": "3"}})
    world.run(keeper, 1)
    assert world.configs == {"log.retention.ms": "1000"}, "at once"
    for _ in range(60):
        world.run(keeper, 1)
    assert not pods_of(world) & before


def test_what_brokers_refuse_is_told_in_their_words_until_it_is_mended() -> None:
    world, keeper = running({})
    world.refuses = "log.retention.ms"
    world.change(brokers={"config": {"log.retention.ms": "long"}})
    world.run(keeper, 3)
    told = world.condition("ConfigNotApplied")
    assert (told["status"], told["reason"]) == ("True", "Refused")
    assert "log.retention.ms: not an integer" in told["message"]
    writes = len(world.api.writes)
    world.run(keeper, 5)
    assert world.api.writes[writes:] == [], "it is told once"
    world.change(brokers={"config": {}})
    world.run(keeper, 2)
    assert world.condition("ConfigNotApplied") == {}


def test_brokers_that_cannot_tell_are_asked_for_nothing() -> None:
    world, keeper = running({})
    world.configs = None
    world.change(brokers={"config": WEEK})
    world.run(keeper, 3)
    assert world.condition("ConfigNotApplied")["reason"] == "BrokersTooOld"
    assert world.configured == []


def test_an_operator_that_knows_more_settings_as_dynamic_renews_no_broker() -> None:
    world = KubeWorld.of()
    world.create(brokers={"config": WEEK | {"num.partitions": "3"}})
    world.settle(world.operator(dynamic=frozenset()))
    before, writes = pods_of(world), len(world.api.writes)
    keeper = world.operator()
    world.settle(keeper)
    made = [write for write in world.api.writes[writes:] if "automqclusters" not in str(write).lower()]
    assert (pods_of(world), world.configs) == (before, WEEK)
    assert not [write for write in made if "StatefulSet" in str(write) or "ConfigMap" in str(write)]
    world.change(brokers={"config": {"log.retention.ms": "1000", "num.partitions": "3"}})
    world.settle(keeper)
    assert (pods_of(world), world.configs) == (before, {"log.retention.ms": "1000"})
    world.change(brokers={"config": {"num.partitions": "3"}})
    for _ in range(80):
        world.run(keeper, 1)
    assert world.configs == {}
    assert not pods_of(world) & before, "it stood in their file, where it would have come back"


def _cluster(config_of: dict[str, str]) -> Any:
    metadata = {"name": "orders", "namespace": "shop", "uid": "u"}
    resource = {"metadata": metadata, "spec": {"storage": {"s3": S3}, "brokers": {"config": config_of}}}
    installation = Installation(image_repository="automq/broker", version="0.1.0", dynamic_configs=DYNAMIC_CONFIGS)
    return cluster_of(Look(resource=resource), installation, memory_of(resource))


def test_dynamic_settings_are_no_part_of_the_form_of_pods() -> None:
    plain, given = _cluster({"num.partitions": "3"}), _cluster(WEEK | {"num.partitions": "3"})
    assert revision(plain) == revision(given)
    assert config.common(plain) == config.common(given)
    assert revision(_cluster({"num.partitions": "4"})) != revision(plain)
