"""The operator's chart: restricted by default, every value does something, wrong ones are refused, no right too many."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from automq_operator import kube, names
from automq_operator.act.lease import Lease
from automq_operator.settings import settings_from
from charts.rendering import CHARTS, OPERATOR, RenderError, helm, leaves, nested, objects, one, render, run
from twins.kube_api import KubeTwin
from twins.kube_controllers import Controllers
from twins.kube_world import KubeWorld

Object = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"
MONITORED = {"monitoring": {each: {"enabled": True} for each in ("podMonitor", "prometheusRule", "dashboards")}}
OWN_KINDS = ("CustomResourceDefinition", "PodMonitor", "PrometheusRule")


@pytest.mark.parametrize("values", [{}, MONITORED, {"nodeTaints": {"enabled": True}, "watchNamespaces": ["a", "b"]}])
def test_what_is_rendered_is_valid_for_the_api_server(values: Object) -> None:
    found = objects(OPERATOR, values)
    for each in found:
        if each["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(each, "1.34", strict=True)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in found]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("chart", ["automq-operator", "automq-cluster"])
def test_helm_lint_finds_nothing(chart: str) -> None:
    values = "storage: {s3: {bucket: orders-kafka}}" if chart == "automq-cluster" else "{}"
    assert "0 chart(s) failed" in run(helm(), "lint", "--strict", str(CHARTS / chart), "--values", "-", text=values)


def pods() -> Iterator[Object]:
    found = objects(OPERATOR)
    yield one(found, "Deployment")["spec"]["template"]["spec"]
    yield one(found, "Job")["spec"]["template"]["spec"]


def test_every_pod_keeps_to_the_restricted_profile_by_default() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_the_operator_starts_with_the_environment_that_the_chart_gives_it() -> None:
    values = {
        "watchNamespaces": ["a", "b"],
        "brokerImage": {"registry": "registry.example", "repository": "kafka/broker", "tag": "7"},
        "reconcileIntervalSeconds": 2.5,
    }
    found = objects(OPERATOR, values, namespace="kafka")
    container = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    downward = {"AUTOMQ_OPERATOR_NAMESPACE": "kafka", "AUTOMQ_OPERATOR_IDENTITY": "pod-1"}
    environment = {each["name"]: each.get("value", downward.get(each["name"])) for each in container["env"]}
    settings = settings_from(environment)
    assert settings.namespaces == ("a", "b")
    assert (settings.image_repository, settings.version) == ("registry.example/kafka/broker", "7")
    assert settings.interval_seconds == 2.5
    assert settings.adopter_priority_class == one(found, "PriorityClass")["metadata"]["name"]
    (port,) = container["ports"]
    assert port["containerPort"] == settings.port


def test_adopters_never_push_a_running_pod_aside() -> None:
    assert one(objects(OPERATOR), "PriorityClass")["preemptionPolicy"] == "Never"


OTHER_VALUES: dict[str, Any] = {
    "nameOverride": "other",
    "fullnameOverride": "other",
    "replicas": 3,
    "image.registry": "registry.example",
    "image.repository": "other/operator",
    "image.tag": "7",
    "image.digest": f"sha256:{'0' * 64}",
    "image.pullPolicy": "Always",
    "brokerImage.registry": "registry.example",
    "brokerImage.repository": "other/broker",
    "brokerImage.tag": "7",
    "imagePullSecrets": [{"name": "registry"}],
    "watchNamespaces": ["shop"],
    "reconcileIntervalSeconds": 5,
    "crds.install": False,
    "rbac.create": False,
    "rbac.clusterRole": False,
    "nodeTaints.enabled": True,
    "serviceAccount.create": False,
    "serviceAccount.name": "other",
    "serviceAccount.annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/kafka"},
    "adopterPriorityClass.create": False,
    "adopterPriorityClass.name": "other",
    "adopterPriorityClass.value": 7,
    "uninstallCheck.enabled": False,
    "resources": {"limits": {"memory": "1Gi"}},
    "extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"a": "b"},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "priorityClassName": "system-cluster-critical",
    "podSecurityContext": {"runAsUser": 7},
    "securityContext": {"privileged": False},
    "podDisruptionBudget.enabled": False,
    "networkPolicy.enabled": False,
    "monitoring.podMonitor.enabled": False,
    "monitoring.podMonitor.interval": "7s",
    "monitoring.podMonitor.labels": {"a": "b"},
    "monitoring.prometheusRule.enabled": False,
    "monitoring.prometheusRule.labels": {"a": "b"},
    "monitoring.prometheusRule.runbookBaseUrl": "https://example.com/runbooks",
    "monitoring.dashboards.enabled": False,
    "monitoring.dashboards.labels": {"a": "b"},
    "monitoring.dashboards.annotations": {"a": "b"},
}


def test_every_value_of_the_file_is_tried() -> None:
    assert set(OTHER_VALUES) == set(leaves(yaml.safe_load((OPERATOR / "values.yaml").read_text())))


@pytest.mark.parametrize("path", OTHER_VALUES)
def test_every_value_has_an_effect(path: str) -> None:
    base: Object = {"rbac": {"clusterRole": True}, "watchNamespaces": ["shop"] if path == "rbac.clusterRole" else []}
    base |= MONITORED
    changed = {**base}
    for key, each in nested(path, OTHER_VALUES[path]).items():
        changed[key] = _merged(base.get(key), each)
    assert render(OPERATOR, changed) != render(OPERATOR, base)


def _merged(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {key: _merged(first.get(key), each) for key, each in second.items()}
    return second


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"replicas": "two"}, "replicas"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"watchNamespaces": ["*"]}, "watchNamespaces"),
        ({"watchNamespaces": "shop"}, "watchNamespaces"),
        ({"reconcileIntervalSeconds": 0}, "reconcileIntervalSeconds"),
        ({"extraEnv": [{"name": "AUTOMQ_OPERATOR_PORT", "value": "1"}]}, "extraEnv"),
        ({"monitoring": {"podMonitor": {"enable": True}}}, "enable"),
        ({"rbac": {"clusterRole": False}}, "rbac.clusterRole=false needs watchNamespaces"),
        (
            {"rbac": {"clusterRole": False}, "watchNamespaces": ["a"], "nodeTaints": {"enabled": True}},
            "nodeTaints.enabled needs rbac.clusterRole",
        ),
    ],
)
def test_wrong_values_are_refused_by_name(values: Object, complaint: str) -> None:
    with pytest.raises(RenderError, match=complaint):
        render(OPERATOR, values)


SHAPED = "create delete list patch watch"
IN_NAMESPACES = {
    "automq.io/automqclusters": "get list patch watch",
    "automq.io/automqclusters/status": "patch",
    "automq.io/automqclusters/finalizers": "update",
    "/pods": "create delete get list watch",
    "apps/statefulsets": "create list patch watch",
    "/configmaps": SHAPED,
    "/services": SHAPED,
    "/serviceaccounts": SHAPED,
    "networking.k8s.io/networkpolicies": SHAPED,
    "policy/poddisruptionbudgets": SHAPED,
    "monitoring.coreos.com/podmonitors": SHAPED,
    "cert-manager.io/certificates": SHAPED,
    "autoscaling/horizontalpodautoscalers": "list watch",
    "/persistentvolumeclaims": "delete list patch watch",
    "/secrets": "create get patch",
    "events.k8s.io/events": "create",
}
EVERYWHERE = {
    "/namespaces": "get",
    "/nodes": "get list watch",
    "/persistentvolumes": "list patch watch",
    "storage.k8s.io/volumeattachments": "delete list watch",
}


def rights(role: Object) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return {key: " ".join(sorted(each)) for key, each in found.items()}


def test_for_all_namespaces_one_cluster_role_holds_all_rights() -> None:
    found = objects(OPERATOR)
    lasting = {"/pods": "create delete get list patch watch"}
    assert rights(one(found, "ClusterRole")) == IN_NAMESPACES | EVERYWHERE | lasting
    assert [each["metadata"]["name"] for each in found if each["kind"] == "Role"] == ["automq-automq-operator-lease"]


def test_for_named_namespaces_a_role_in_each_and_what_has_no_namespace_in_the_cluster_role() -> None:
    found = objects(OPERATOR, {"watchNamespaces": ["a", "b"]})
    roles = [each for each in found if each["kind"] == "Role" and "lease" not in each["metadata"]["name"]]
    assert [each["metadata"]["namespace"] for each in roles] == ["a", "b"]
    assert all(rights(each) == IN_NAMESPACES for each in roles)
    assert rights(one(found, "ClusterRole")) == EVERYWHERE | {"automq.io/automqclusters": "get patch"}


def test_without_the_cluster_role_nothing_of_rbac_goes_beyond_the_namespaces() -> None:
    found = objects(OPERATOR, {"watchNamespaces": ["a"], "rbac": {"clusterRole": False}})
    assert not [each for each in found if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]


def test_an_installation_for_one_namespace_can_do_without_any_right_on_the_whole_cluster() -> None:
    values = {
        "watchNamespaces": ["a"],
        "rbac": {"clusterRole": False},
        "crds": {"install": False},
        "adopterPriorityClass": {"create": False},
    }
    assert all("namespace" in each["metadata"] for each in objects(OPERATOR, values))


@pytest.mark.parametrize("is_enabled", [True, False])
def test_nodes_may_be_patched_only_behind_the_admission_policy(is_enabled: bool) -> None:
    found = objects(OPERATOR, {"nodeTaints": {"enabled": is_enabled}})
    kinds = {each["kind"] for each in found}
    assert ("patch" in rights(one(found, "ClusterRole"))["/nodes"]) == is_enabled
    assert ({"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} <= kinds) == is_enabled
    if is_enabled:
        policy = one(found, "ValidatingAdmissionPolicy")
        account = one(found, "ServiceAccount")["metadata"]
        (condition,) = policy["spec"]["matchConditions"]
        assert f"system:serviceaccount:kafka:{account['name']}" in condition["expression"]
        binding = one(found, "ValidatingAdmissionPolicyBinding")
        assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


class Noting(KubeTwin):
    """Notes every call by resource and verb."""

    used: set[tuple[str, str]] = set()  # noqa: RUF012  one per test run is what is wanted

    def note(self, kind: kube.Kind, verbs: str, part: str = "") -> None:
        resource = f"{kind.group}/{kind.plural}{f'/{part}' if part else ''}"
        self.used.update((resource, verb) for verb in verbs.split())

    async def list_all(self, kind: kube.Kind, namespace: str = "", selector: str = "") -> list[Object]:
        self.note(kind, "list watch")  # observe.feeds watches what it lists
        return await super().list_all(kind, namespace, selector)

    async def get(self, kind: kube.Kind, namespace: str, name: str) -> Object:
        self.note(kind, "get")
        return await super().get(kind, namespace, name)

    async def create(self, kind: kube.Kind, obj: Object) -> Object:
        self.note(kind, "create")
        return await super().create(kind, obj)

    async def apply(self, kind: kube.Kind, obj: Object) -> Object:
        self.note(kind, "create patch")
        return await super().apply(kind, obj)

    async def patch(
        self, kind: kube.Kind, namespace: str, name: str, operations: list[Object], part: str = ""
    ) -> Object:
        self.note(kind, "patch", part)
        return await super().patch(kind, namespace, name, operations, part)

    async def replace(self, kind: kube.Kind, obj: Object) -> Object:
        self.note(kind, "update")
        return await super().replace(kind, obj)

    async def delete(self, kind: kube.Kind, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        self.note(kind, "delete")
        await super().delete(kind, namespace, name, uid, grace_s)

    async def knows(self, kind: kube.Kind) -> bool:
        """PodMonitors and Certificates are known here."""
        return True


def a_long_life() -> set[tuple[str, str]]:
    """Every call of an operator whose cluster is made, gets an authority of its own, grows, shrinks, loses a node, and ends."""
    api = Noting()
    world = KubeWorld(api, Controllers(api))
    for number in range(1, 5):
        world.controllers.add_node(f"n{number}", "a")
    tls = {"tls": {"issuerRef": {"name": "letsencrypt"}}}
    listeners = [{"name": "client", "port": 9092, "tls": True}]
    world.create(failover={"restartGraceSeconds": 10}, security=tls, listeners=listeners, deletionPolicy="Delete")
    keeper = world.operator()
    world.settle(keeper)
    world.change(security={"tls": {"generated": {}}})
    world.run(keeper, 60)
    world.pass_time(61 * 86_400)
    world.run(keeper, 3)
    world.change(
        brokers={"replicas": 4, "config": {"num.partitions": "7"}}, listeners=[{"name": "client"} | {"port": 9092}]
    )
    world.run(keeper, 100)
    world.change(brokers={"replicas": 3, "config": {"num.partitions": "7"}}, wal={"size": "20Gi"})
    world.run(keeper, 60)
    lost = world.pod(1)["spec"]["nodeName"]
    world.controllers.kill_node(lost)
    world.run(keeper, 10)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    world.run(keeper, 60)
    world.api.remove(world.resource)
    world.run(keeper, 40)
    asyncio.run(a_lease(api))
    return api.used


async def a_lease(api: KubeTwin) -> None:
    lease = Lease(api, "kafka", "pod-1", lambda: 0.0, lambda: 0.0)
    await lease.try_once()
    await lease.renew()
    await lease.release()


BEYOND_THE_TWIN = {
    ("automq.io/automqclusters/finalizers", "update"),  # asked for by an admission plugin, not by the API itself
    ("storage.k8s.io/volumeattachments", "delete"),  # when the node is gone
    ("/serviceaccounts", "delete"),  # deleted like other parts once they are no longer wanted
    ("/configmaps", "delete"),
    ("/services", "delete"),
    ("networking.k8s.io/networkpolicies", "delete"),
    ("policy/poddisruptionbudgets", "delete"),
    ("monitoring.coreos.com/podmonitors", "delete"),
}


def test_what_the_operator_does_it_may_and_what_it_may_it_does() -> None:
    found = objects(OPERATOR)
    granted = rights(one(found, "ClusterRole")) | rights(one(found, "Role", "lease"))
    pairs = {(resource, verb) for resource, verbs in granted.items() for verb in verbs.split()}
    used = a_long_life()
    assert used - pairs == set()
    assert pairs - used - BEYOND_THE_TWIN == set()


def test_an_upgrade_finds_what_the_chart_of_0_1_0_made() -> None:
    """Names and selectors: another name is another object, and a Deployment's selector can never be changed."""
    made = yaml.safe_load((GOLDEN / "operator-0.1.0.yaml").read_text())
    found = objects(OPERATOR, MONITORED | {"nodeTaints": {"enabled": True}, "watchNamespaces": ["shop"]})
    assert [each for each in made if each not in [identity(one) for one in found]] == []


def identity(obj: Object) -> Object:
    kept = {"kind": obj["kind"], "namespace": obj["metadata"].get("namespace", ""), "name": obj["metadata"]["name"]}
    selector = obj.get("spec", {}).get("selector")
    return kept | ({"selector": selector} if selector else {})
