"""Nobody vouches for the dead machine: the operator asks EC2, and takes the volume on its word."""

import time

import pytest

from e2e import budgets
from e2e.aws.endpoints import ACCESS_KEY, EC2, SECRET_KEY
from e2e.aws.instances import Instances
from e2e.brokers import brokers, has_ready, id_of, kill_node, one_of_two
from e2e.cluster import layout, node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.helm import OPERATOR, Helm, operator_values
from e2e.load import LoadOn
from e2e.platform import Platform
from e2e.test_20_node_kill import ALONE, RARE_UPLOADS, adopted

pytestmark = pytest.mark.usefixtures("machines")

LIMITS = {True: budgets.TAKEN_OVER_BY_TAINT, False: budgets.TAKEN_OVER_BY_DETACH}


@pytest.fixture
def operator(platform: Platform, kubectl: Kubectl, helm: Helm) -> None:
    """One that reaches EC2, and may taint nodes."""
    cloud = {"AWS_ENDPOINT_URL_EC2": EC2, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    values = operator_values(platform, str(kubectl.namespace)) | {
        "replicas": 1,
        "nodeTaints": {"enabled": True},
        "uninstallCheck": {"enabled": False},
        "extraEnv": [{"name": name, "value": value} for name, value in cloud.items()],
    }
    helm.put("automq", OPERATOR, values)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("taints", [True, False], ids=["taint", "detach"])
def test_a_stopped_instance_is_proof_enough(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, taints: bool
) -> None:
    failover = {"proof": {"cloudApi": "EC2"}, "release": {"taintNode": taints}}
    spec = {"template": {"affinity": ALONE}, "config": RARE_UPLOADS}
    clients = load(orders(brokers=spec, failover=failover))
    pod = one_of_two(kubectl)
    clients.fill(256, broker=id_of(pod, kubectl))
    victim = layout.node(brokers(kubectl)[pod])
    Instances().stop(victim)
    waiting.until(lambda: not node.is_running(victim), f"{victim.name} has no power", seconds=20)
    killed = time.monotonic()
    took = clients.writable_after(killed, seconds=180)
    way = "taint" if taints else "detach"
    figure(f"node stopped, EC2 says so -> everything is writable, by {way}", took, most=LIMITS[taints])
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


@pytest.mark.usefixtures("operator")
def test_a_node_that_is_deleted_with_its_terminated_instance_is_proof_enough(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    spec = {"template": {"affinity": ALONE}, "config": RARE_UPLOADS}
    clients = load(orders(brokers=spec, failover={"proof": {"cloudApi": "EC2"}}))
    pod = one_of_two(kubectl)
    clients.fill(256, broker=id_of(pod, kubectl))
    victim = layout.node(brokers(kubectl)[pod])
    Instances().terminate(victim)
    waiting.until(lambda: not node.is_running(victim), f"{victim.name} has no power", seconds=20)
    killed = time.monotonic()
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.run("delete", "node", victim.name)  # as the cloud's node controller does it
    took = clients.writable_after(killed, seconds=180)
    figure("instance terminated, its node deleted -> everything is writable", took, most=budgets.TAKEN_OVER_BY_DETACH)
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


@pytest.mark.slow
@pytest.mark.usefixtures("operator")
def test_without_a_cloud_a_deleted_node_is_left_to_kubernetes_which_gives_its_volume_up_after_minutes(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim = layout.node(brokers(kubectl)[pod])
    killed = kill_node(kubectl, victim)
    kubectl.run("delete", "node", victim.name)
    time.sleep(30)
    assert not adopted(kubectl)
    took = clients.writable_after(killed, seconds=budgets.TAKEN_OVER_BY_KUBERNETES)
    figure("node killed and deleted, nobody asked -> everything is writable", took)
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


@pytest.mark.usefixtures("operator")
def test_a_silent_machine_that_ec2_calls_running_is_left_alone(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"config": RARE_UPLOADS}, failover={"proof": {"cloudApi": "EC2"}}))
    pod = one_of_two(kubectl)
    victim = layout.node(brokers(kubectl)[pod])
    node.freeze(victim)
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.wait("amq/orders", "condition=FencingPending", seconds=30)
    time.sleep(25)
    assert not adopted(kubectl)
    node.thaw(victim)
    thawed = time.monotonic()
    figure("EC2 called it running, thawed -> everything is writable", clients.writable_after(thawed, seconds=120))
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=120)
    clients.judge()
