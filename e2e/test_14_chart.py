"""The operator's chart on a real API server: its rights and their fence, its refusal to go, its upgrade."""

import re
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready
from e2e.cluster import layout, local, node, waiting
from e2e.cluster.kubectl import Kubectl, KubectlError
from e2e.conftest import Orders
from e2e.helm import OPERATOR, PREVIOUS, Helm, HelmError, operator_values
from e2e.platform import Platform
from e2e.pods import consume, produce, uid_of

TAINT = "node.kubernetes.io/out-of-service"
UNREACHABLE = "node.kubernetes.io/unreachable"


def account(kubectl: Kubectl) -> str:
    """The option that makes kubectl speak as the operator does."""
    return f"--as=system:serviceaccount:{kubectl.namespace}:automq-operator"


def test_without_the_cluster_role_a_cluster_lives_and_says_what_is_off(
    kubectl: Kubectl, helm: Helm, platform: Platform, orders: Orders, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("client"))
    values = operator_values(platform, str(kubectl.namespace))
    helm.put("automq", OPERATOR, values | {"rbac": {"clusterRole": False}})
    assert kubectl.run("auth", "can-i", "list", "pods", account(kubectl)).strip() == "yes"
    for right in ("list nodes", "list persistentvolumes", "delete volumeattachments", "get namespaces"):
        with pytest.raises(KubectlError):
            kubectl.run("auth", "can-i", *right.split(), account(kubectl))
    bootstrap = orders()
    kubectl.wait("amq/orders", "condition=PermissionsMissing", seconds=30)
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    produce(kubectl, bootstrap, range(100))

    pod = sorted(brokers(kubectl))[0]
    before = uid_of(kubectl, pod)
    kubectl.run("delete", "pod", pod, seconds=90)
    waiting.until(lambda: uid_of(kubectl, pod) not in ("", before), "another pod is there", seconds=60)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.SCALED)
    kubectl.run("scale", "amq/orders", "--replicas=4")
    waiting.until(lambda: has_ready(kubectl, 4), "four brokers are well", seconds=budgets.SCALED)
    assert consume(kubectl, bootstrap) == list(range(100))
    logs = kubectl.run("logs", "deployment/automq-operator", "--tail=-1")
    assert not re.search(r"\b403\b|Traceback", logs), logs


@pytest.mark.usefixtures("machines")
def test_the_operators_account_may_do_nothing_to_nodes_but_its_own_taint_on_one_that_is_not_ready(
    kubectl: Kubectl, helm: Helm, platform: Platform, cluster: Kubectl
) -> None:
    values = operator_values(platform, str(kubectl.namespace))
    helm.put("automq", OPERATOR, values | {"nodeTaints": {"enabled": True}})
    own, foreign = f"{TAINT}=automq-operator:NoExecute", f"{TAINT}=nodeshutdown:NoExecute"
    who = account(kubectl)
    waiting.until(lambda: is_denied(cluster, who, "taint", "node", "b2", own), "the policy is in force", seconds=30)

    assert "that is ready" in denial(cluster, who, "taint", "node", "b2", own)
    for patch in (
        '{"spec":{"unschedulable":true}}',
        '{"metadata":{"labels":{"a":"b"}}}',
        '{"metadata":{"annotations":{"a":"b"}}}',
        '{"metadata":{"finalizers":["a.example/b"]}}',
    ):
        assert "nothing of a node but its taints" in denial(cluster, who, "patch", "node", "b2", "-p", patch)
    assert "no taint but" in denial(cluster, who, "taint", "node", "b2", "a=b:NoSchedule")
    status = ("patch", "node", "b2", "--subresource=status", "-p", '{"status":{"phase":"Running"}}')
    assert re.search("forbidden|only change taints", denial(cluster, who, *status))
    assert "forbidden" in denial(cluster, who, "delete", "node", "b2")

    victim = layout.node("b2")
    node.kill(victim)
    # kubectl writes all taints anew: one that Kubernetes sets meanwhile would be another reason to refuse.
    waiting.until(
        lambda: is_unreachable(cluster, "b2"), "b2 has Kubernetes' own taints", seconds=budgets.NODE_NOT_READY
    )
    assert "has the value automq-operator" in denial(cluster, who, "taint", "node", "b2", foreign)
    assert "nothing of a node" in denial(cluster, who, "patch", "node", "b2", "-p", '{"spec":{"unschedulable":true}}')
    cluster.run("taint", "node", "b2", own, who)
    cluster.run("taint", "node", "b2", f"{TAINT}-", who)
    local.vouch_dead(victim)
    assert "only the taint that it set" in denial(cluster, who, "taint", "node", "b2", f"{TAINT}-")


def denial(cluster: Kubectl, who: str, *command: str) -> str:
    """What the API server says to the operator's account; the test fails if it lets it."""
    with pytest.raises(KubectlError) as refused:
        cluster.run(*command, who)
    return str(refused.value)


def is_unreachable(cluster: Kubectl, name: str) -> bool:
    """Whether both taints of a node that fell silent are there."""
    taints = cluster.get("node", name)["spec"].get("taints", [])
    return {each["effect"] for each in taints if each["key"] == UNREACHABLE} == {"NoSchedule", "NoExecute"}


def is_denied(cluster: Kubectl, who: str, *command: str) -> bool:
    """A new policy takes the API server a moment; a taint that slipped through is taken back."""
    try:
        cluster.run(*command, who)
    except KubectlError:
        return True
    cluster.run("taint", "node", "b2", f"{TAINT}-")
    return False


@pytest.mark.usefixtures("operator")
def test_the_commands_of_the_runbooks_work(kubectl: Kubectl, orders: Orders) -> None:
    orders()
    pod = sorted(brokers(kubectl))[0]
    token = ["--token-file", "/etc/automq/secrets/admin.token"]
    for what in ("status", "brokers", "recoveries", "moves", "decisions"):
        assert kubectl.execute(pod, ["automq", "cluster", what, *token]), what
    assert kubectl.execute(pod, ["automq", "cluster", "rebalance", "--dry-run", *token])
    host = f"{pod}.orders-brokers.{kubectl.namespace}.svc"
    assert kubectl.execute(pod, ["python", "-c", f"import socket; socket.create_connection(('{host}', 9091), 3)"]) == ""
    resource = kubectl.run("get", "amq", "orders", "-o", "yaml")
    plan = ("exec", "-i", "deploy/automq-operator", "--", "automq-operator", "plan", "-f", "/dev/stdin")
    assert kubectl.run(*plan, stdin=resource)


def test_helm_does_not_uninstall_the_operator_while_clusters_exist(
    kubectl: Kubectl, helm: Helm, platform: Platform, orders: Orders
) -> None:
    helm.put("automq", OPERATOR, operator_values(platform, str(kubectl.namespace)))
    orders()
    with pytest.raises(HelmError, match=f"delete them first: {kubectl.namespace}/orders"):
        helm.uninstall("automq")
    assert kubectl.get("deployment", "automq-operator")["status"]["readyReplicas"] == 2
    kubectl.run("delete", "amq", "orders", seconds=budgets.CLUSTER_ENDED)
    helm.uninstall("automq")
    assert kubectl.find("deployment", "automq-operator") is None
    assert kubectl.find("crd", "automqclusters.automq.io") is not None


def test_an_upgrade_from_the_previous_chart_restarts_no_broker(
    kubectl: Kubectl, helm: Helm, platform: Platform, orders: Orders, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("client"))
    values = operator_values(platform, str(kubectl.namespace))
    helm.put("automq", PREVIOUS, values)
    bootstrap = orders()
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    produce(kubectl, bootstrap, range(100))
    before = {pod: uid_of(kubectl, pod) for pod in brokers(kubectl)}

    helm.put("automq", OPERATOR, values)
    kubectl.run("scale", "amq/orders", "--replicas=4")
    waiting.until(lambda: has_ready(kubectl, 4), "four brokers are well", seconds=budgets.SCALED)
    assert {pod: uid_of(kubectl, pod) for pod in before} == before
    assert consume(kubectl, bootstrap) == list(range(100))
