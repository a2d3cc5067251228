"""A running cluster is changed, under load: another image, other settings. One broker at a time, and nobody waits for long."""

import json
import time
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import brokers, condition, has_ready, kill_container, starts, status
from e2e.cluster import node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import NODES
from e2e.conftest import Figure, Orders
from e2e.load import Load, LoadOn
from e2e.platform import Platform
from e2e.pods import uid_of

pytestmark = pytest.mark.usefixtures("machines", "operator")


def test_another_image_is_rolled_out_one_broker_at_a_time(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, platform: Platform
) -> None:
    clients = load(orders())
    image = next_image(platform)
    roll(kubectl, clients, {"image": image}, "image changed", figure)
    assert {image_of(kubectl, pod) for pod in brokers(kubectl)} == {image}


def test_another_setting_is_rolled_out_one_broker_at_a_time(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    roll(kubectl, clients, {"brokers": {"config": {"num.partitions": "3"}}}, "setting changed", figure)


def test_a_setting_that_brokers_take_at_run_time_restarts_none(
    kubectl: Kubectl, orders: Orders, figure: Figure
) -> None:
    orders()
    before, began = starts(kubectl), time.monotonic()
    kubectl.patch("amq", "orders", {"spec": {"brokers": {"config": {"automq.log.level": "debug"}}}})
    waiting.until(
        lambda: all(configs(kubectl, pod).get("automq.log.level") == "debug" for pod in before),
        "every broker has the setting",
        seconds=budgets.SET,
    )
    figure("dynamic setting changed -> every broker has it", time.monotonic() - began, most=budgets.SET)
    kubectl.patch("amq", "orders", {"spec": {"brokers": {"config": {"automq.log.level": None}}}})
    waiting.until(
        lambda: all("automq.log.level" not in configs(kubectl, pod) for pod in before),
        "every broker is without it again",
        seconds=budgets.SET,
    )
    assert starts(kubectl) == before
    assert has_ready(kubectl, 3)


def configs(kubectl: Kubectl, pod: str) -> dict[str, str]:
    """Dynamic configs of all brokers, as one of them knows them."""
    token = "/etc/automq/secrets/admin.token"
    command = ["automq", "cluster", "status", "--json", "--admin", "http://127.0.0.1:9644", "--token-file", token]
    found: dict[str, str] = json.loads(kubectl.execute(pod, command))["configs"]
    return found


def test_a_rollout_halts_at_an_image_that_is_not_there_and_who_crashes_meanwhile_comes_back_as_it_was(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, platform: Platform
) -> None:
    clients = load(orders())
    before = {pod: uid_of(kubectl, pod) for pod in brokers(kubectl)}
    began = time.monotonic()
    kubectl.patch("amq", "orders", {"spec": {"image": f"{platform.broker_image}-missing"}})
    kubectl.wait("amq/orders", "condition=PodsCannotStart", seconds=budgets.ROLLED)
    kubectl.wait("amq/orders", "condition=RolloutHalted", seconds=30)
    figure("image that is not there -> the rollout has halted", time.monotonic() - began)
    told = {one["type"]: one for one in status(kubectl)["conditions"]}
    assert told["PodsCannotStart"]["reason"] == "ImagePullBackOff"
    assert f"{platform.broker_image}-missing" in told["PodsCannotStart"]["message"]
    (stuck,) = (pod for pod, uid in before.items() if uid_of(kubectl, pod) != uid)

    # Of its own StatefulSet, if there is one: the same change of the template is meant for it.
    pod = max(before.keys() - {stuck}, key=lambda each: each.rpartition("-")[0] == stuck.rpartition("-")[0])
    kill_container(kubectl, pod)
    kubectl.run("delete", "pod", pod, "--grace-period=1", "--wait=false")
    crashed = time.monotonic()
    waiting.until(lambda: uid_of(kubectl, pod) not in ("", before[pod]), "there is a new pod", seconds=60)
    figure("broker crashed in a halted rollout -> everything is writable", clients.writable_after(crashed, seconds=120))
    assert image_of(kubectl, pod) == platform.broker_image
    assert condition(kubectl, "RolloutHalted") == "True"
    assert uid_of(kubectl, (before.keys() - {stuck, pod}).pop()) in before.values()

    roll(kubectl, clients, {"image": next_image(platform)}, "image that is there", figure)


def next_image(platform: Platform) -> str:
    """The brokers' image under another name, on every node."""
    image = f"{platform.broker_image}-next"
    for one in NODES:
        node.enter(one, "ctr", "--namespace", "k8s.io", "images", "tag", "--force", platform.broker_image, image)
    return image


def image_of(kubectl: Kubectl, pod: str) -> str:
    """What its container runs."""
    image: str = kubectl.get("pod", pod)["spec"]["containers"][0]["image"]
    return image


def roll(kubectl: Kubectl, clients: Load, spec: dict[str, Any], what: str, figure: Figure) -> None:
    """Change the spec, wait until every broker is another one and well, and judge; at no time two are away."""
    before = {pod: uid_of(kubectl, pod) for pod in brokers(kubectl)}
    began = time.monotonic()
    kubectl.patch("amq", "orders", {"spec": spec})
    fewest = len(before)

    def is_rolled() -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(one["state"] == "ACTIVE" for one in status(kubectl)["brokers"]))
        return all(uid_of(kubectl, pod) not in ("", uid) for pod, uid in before.items()) and has_ready(kubectl, 3)

    waiting.until(is_rolled, "every broker is another one and well", seconds=budgets.ROLLED, every_seconds=0.5)
    figure(f"{what} -> every broker is another one and well", time.monotonic() - began, most=budgets.ROLLED)
    stall = clients.longest_stall(began)
    clients.judge()
    assert fewest >= len(before) - 1
    figure(f"{what}, longest produce stall", stall, most=budgets.STALL)
