"""What every end-to-end test gets: a cluster, a namespace of its own, whole nodes, and disks that nobody opened twice."""

import os
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from string import Template
from typing import Any, Protocol

import pytest
import yaml

from e2e import budgets, report
from e2e.cluster import local, node, waiting
from e2e.cluster.kubectl import Kubectl, KubectlError, Manifest
from e2e.cluster.layout import NODES
from e2e.csi.disks import Attachment, Disks
from e2e.helm import OPERATOR, Helm, operator_values
from e2e.images.images import all_images
from e2e.kind import cluster as kind
from e2e.load import Load, LoadOn
from e2e.paths import DISKS
from e2e.platform import Ground, Platform, chosen, given, on_kind, ours


class Orders(Protocol):
    """See `orders`."""

    def __call__(self, **spec: Any) -> str: ...


class Figure(Protocol):
    """See `figure`."""

    def __call__(self, name: str, seconds: float, *, most: float | None = None) -> None: ...


MANIFESTS = Path(__file__).resolve().parent / "manifests"


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The cluster of this run. One that the tests started themselves is ended after them."""
    match chosen():
        case Ground.GIVEN:
            yield given()
        case Ground.KIND:
            yield from _on_kind()
        case Ground.LOCAL:
            yield from _on_local()


def _on_kind() -> Iterator[Platform]:
    was_up = kind.is_up()
    kind.up()
    yield on_kind()
    if not was_up and not os.environ.get("AUTOMQ_E2E_KEEP"):
        kind.down()


def _on_local() -> Iterator[Platform]:
    was_up = local.is_up()
    local.up()
    make_whole(local.kubectl())
    yield ours()
    if not was_up and not os.environ.get("AUTOMQ_E2E_KEEP"):
        local.down()
        assert local.leftovers() == []


@pytest.fixture(scope="session")
def cluster(platform: Platform) -> Kubectl:
    """kubectl for what belongs to no namespace."""
    return platform.kubectl


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """1, 2, 3, ... over the whole run."""
    return count(1)


@pytest.fixture
def kubectl(platform: Platform, numbers: Iterator[int], disks: Disks) -> Iterator[Kubectl]:
    """kubectl in an empty namespace that goes with the test; afterwards every node is whole again."""
    name = f"test-{os.getpid()}-{next(numbers)}"
    cluster = platform.kubectl
    cluster.run("create", "namespace", name)
    yield cluster.within(name)
    if platform.is_ours:
        make_whole(cluster)
    cluster.run("delete", "namespace", name, "--wait=false")
    cluster.within(name).run("delete", "pods", "--all", "--grace-period=1", "--wait=false")
    # The namespace itself takes Kubernetes ten seconds more, which nobody needs to wait for.
    waiting.until(lambda: not cluster.within(name).list("pods"), f"no pod is left in {name}", seconds=60)
    waiting.until(lambda: not disks.all(Attachment), "no disk is attached", seconds=60)


@pytest.fixture
def manifest(platform: Platform) -> Callable[..., str]:
    """manifest(NAME, ...): the text of manifests/NAME.yaml with the platform's values and those given for its $variables."""

    def fill_in(name: str, **values: str) -> str:
        text = Template((MANIFESTS / f"{name}.yaml").read_text())
        return text.substitute(platform.values() | values)

    return fill_in


@pytest.fixture
def helm(kubectl: Kubectl) -> Iterator[Helm]:
    """Helm for the test's namespace. At the end clusters go first, then what it installed; the definition stays."""
    helm = Helm(kubectl)
    yield helm
    if kubectl.find("crd", "automqclusters.automq.io") is not None:
        end_clusters(kubectl)
    for release in helm.run("list", "--all", "--short").split():
        helm.uninstall(release)


@pytest.fixture
def operator(platform: Platform, kubectl: Kubectl, helm: Helm) -> None:
    """One operator, for the test's own namespace, with the rights that its chart gives and no others."""
    beside = {"replicas": 1, "nodeTaints": {"enabled": True}, "uninstallCheck": {"enabled": False}}
    helm.put("automq", OPERATOR, operator_values(platform, str(kubectl.namespace)) | beside)


@pytest.fixture
def orders_manifest(platform: Platform, kubectl: Kubectl, manifest: Callable[..., str]) -> Manifest:
    """The AutoMQCluster of manifests/orders.yaml; the Secret that it names is there."""
    fields = platform.bucket_fields(str(kubectl.namespace))
    secret, resource = yaml.safe_load_all(manifest("orders", **fields))
    kubectl.apply(secret)
    made: Manifest = resource
    return made


@pytest.fixture
def orders(kubectl: Kubectl, orders_manifest: Manifest) -> Orders:
    """orders(...): make that AutoMQCluster, wait until it is Ready, and return its bootstrap servers.

    What is given goes into the resource's spec.
    """

    def make(**spec: Any) -> str:
        kubectl.apply({**orders_manifest, "spec": merged(orders_manifest["spec"], spec)})
        kubectl.wait("amq/orders", "condition=Ready", seconds=budgets.CLUSTER_READY)
        bootstrap: str = kubectl.get("amq", "orders")["status"]["bootstrap"]
        return bootstrap

    return make


@pytest.fixture
def load(platform: Platform, tmp_path: Path) -> Iterator[LoadOn]:
    """load(BOOTSTRAP): librdkafka's clients, which have begun; the test ends with `judge`."""
    if not platform.is_ours:
        pytest.skip("only the local cluster is ours: clients outside of it do not reach it")
    begun: list[Load] = []

    def begin(bootstrap: str) -> Load:
        begun.append(Load(tmp_path / f"load-{len(begun)}", bootstrap))
        begun[-1].start()
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """figure(NAME, SECONDS, most=LIMIT): printed at the end of the run, and not above the limit."""

    def note(name: str, seconds: float, *, most: float | None = None) -> None:
        record_property(name, f"{seconds:6.1f} s" + (f", at most {most:.0f} s" if most is not None else ""))
        if most is not None and seconds > most:
            raise waiting.TooLate(f"{name}: {seconds:.1f} s, at most {most:.0f} s")

    return note


@pytest.fixture(autouse=True)
def disks() -> Iterator[Disks]:
    """The disks' world, for every test. It fails if at any moment a disk was about to be open on two machines."""
    disks = Disks(DISKS)
    before = len(disks.violations())
    yield disks
    disks.inject({})
    assert disks.violations()[before:] == []


@pytest.fixture
def machines(platform: Platform) -> None:
    """Asked for by tests that look into or hurt the machines beneath the cluster."""
    if not platform.is_ours:
        pytest.skip("only the local cluster is ours: its machines are left alone")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the cluster as it was at that moment."""
    result = yield
    kubectl = getattr(item, "funcargs", {}).get("kubectl")
    if call.when == "call" and result.failed and kubectl is not None:
        result.sections.extend(report.sections(kubectl))
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every scenario with its figures."""
    for outcome in ("passed", "failed"):
        for each in terminalreporter.getreports(outcome):
            if each.when == "call":
                terminalreporter.write_line(f"{outcome} {each.duration:6.1f} s  {each.nodeid.rpartition('::')[2]}")
                for name, text in each.user_properties:
                    terminalreporter.write_line(f"                  {text}  {name}")


def end_clusters(kubectl: Kubectl) -> None:
    """Delete every AutoMQCluster of the namespace; one that does not end in time is shown."""
    limit = budgets.CLUSTER_ENDED
    try:
        kubectl.run("delete", "amq", "--all", f"--timeout={limit:.0f}s", seconds=limit + 5)
    except KubectlError:
        for title, text in report.sections(kubectl):  # now: what comes next takes all of it away
            print(f"--- {title}\n{text}")
        raise


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, where they agree on nothing the second."""
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(above[key], dict)}
    return {**below, **above, **both}


def make_whole(cluster: Kubectl) -> None:
    """Whatever a test did to the nodes is undone. One whose instance was terminated is a new machine, without any image."""
    images = [image.archive for image in all_images()]
    for one in NODES:
        node.thaw(one)
        node.heal(one)
        local.switch_on(one, images)
        cluster.run("uncordon", one.name)
        taints = cluster.get("node", one.name)["spec"].get("taints", [])
        if any(taint["key"] == local.OUT_OF_SERVICE for taint in taints):
            cluster.run("taint", "node", one.name, f"{local.OUT_OF_SERVICE}-")
