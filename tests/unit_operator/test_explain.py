"""`automq-operator plan`: what would be done, without doing it."""

import asyncio
from pathlib import Path

import pytest
import yaml
from automq_operator import names
from automq_operator.__main__ import main
from automq_operator.explain import Dump, from_nothing
from automq_operator.settings import Settings, settings_from
from click.testing import CliRunner
from pydantic import ValidationError
from twins.kube_world import KubeWorld


def test_a_failover_is_explained_before_it_happens(tmp_path: Path) -> None:
    world = KubeWorld.of()
    world.create(failover={"restartGraceSeconds": 0})
    keeper = world.operator()
    world.settle(keeper)
    lost = world.pod(1)["spec"]["nodeName"]
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    world.pass_time()
    platform = keeper._platform
    asyncio.run(platform.refresh())
    dump = tmp_path / "dump.json"
    dump.write_text(Dump(at=world.api.now, world=asyncio.run(platform.observe())).model_dump_json())
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({key: world.resource[key] for key in ("apiVersion", "kind", "metadata", "spec")}))
    result = CliRunner().invoke(main, ["plan", "-f", str(file), "--world", str(dump)])
    assert result.exit_code == 0, result.output
    assert "fence broker 1 at epoch 2 and grant its rescue: somebody tainted its node out-of-service" in result.output


def test_a_resource_that_is_not_there_yet_is_told_as_what_it_would_consist_of() -> None:
    resource = {"metadata": {"name": "orders"}, "spec": {"storage": {"s3": {"bucket": "orders"}}}}
    told = "\n".join(from_nothing(resource, Settings()))
    assert "apply StatefulSet orders-broker: it is missing" in told
    assert "apply Secret orders-internal" in told


def test_a_resource_that_is_not_understood_is_refused_in_a_line(tmp_path: Path) -> None:
    world = tmp_path / "world.json"
    world.write_text("{}")
    file = tmp_path / "cluster.yaml"
    file.write_text("metadata: {name: orders}\nspec: {}\n")
    result = CliRunner().invoke(main, ["plan", "-f", str(file), "--world", str(world)])
    assert result.exit_code == 1


def test_an_unknown_setting_is_refused() -> None:
    assert settings_from({"AUTOMQ_OPERATOR_WATCH_NAMESPACES": "a, b", "HOME": "/"}).namespaces == ("a", "b")
    with pytest.raises(ValidationError, match="watch_namespace"):
        settings_from({"AUTOMQ_OPERATOR_WATCH_NAMESPACE": "a"})
