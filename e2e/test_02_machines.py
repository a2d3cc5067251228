"""What can happen to a machine and to its disks, and what Kubernetes makes of it: the ground of every failover test."""

import time
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.aws.instances import Instances, State
from e2e.cluster import layout, local, node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import TooLate
from e2e.csi.disks import Attachment, Disks
from e2e.images import images
from e2e.pods import attachments, roll_out, uid_of, volume_of, where

pytestmark = pytest.mark.usefixtures("machines")

A1, B1, B2 = layout.node("a1"), layout.node("b1"), layout.node("b2")


@pytest.fixture
def ledger(kubectl: Kubectl, manifest: Callable[..., str]) -> str:
    """The id of the disk of a pod that runs on a1, and would run on a2 next."""
    kubectl.apply(manifest("ledger"))
    roll_out(kubectl, "ledger", seconds=budgets.POD_RUNS)
    assert where(kubectl, "ledger-0") == "a1"
    return volume_of(kubectl, "disk-ledger-0")


def test_a_frozen_machine_keeps_its_disk_even_if_somebody_vouches_for_its_death(
    kubectl: Kubectl, disks: Disks, ledger: str
) -> None:
    began = time.time()
    node.freeze(A1)
    kubectl.wait("node/a1", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    local.vouch_dead(A1)
    waiting.until(lambda: refusals(disks, ledger, since=began), "the detach is refused", seconds=budgets.VOLUME_MOVED)
    with pytest.raises(TooLate):
        kubectl.wait("pod/ledger-0", "condition=Ready", seconds=5)
    assert attachments(disks, ledger, since=began) == []

    node.kill(A1)
    kubectl.wait("pod/ledger-0", "condition=Ready", seconds=budgets.VOLUME_MOVED)
    assert where(kubectl, "ledger-0") == "a2"
    assert kubectl.execute("ledger-0", ["cat", "/disk/starts"]).split() == ["a1", "a2"]


def test_a_machine_that_is_cut_off_goes_on_writing_and_gives_its_disk_up_when_it_is_back(
    kubectl: Kubectl, disks: Disks, ledger: str
) -> None:
    began, before = time.time(), uid_of(kubectl, "ledger-0")
    node.cut_off(A1)
    kubectl.wait("node/a1", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.wait("pod/ledger-0", "jsonpath={.metadata.deletionTimestamp}", seconds=budgets.POD_EVICTED)
    assert "sleep infinity" in node.enter(A1, "ps", "-eo", "args")
    assert attachments(disks, ledger, since=began) == []

    node.heal(A1)
    waiting.until(lambda: uid_of(kubectl, "ledger-0") not in ("", before), "a new pod", seconds=budgets.VOLUME_MOVED)
    kubectl.wait("pod/ledger-0", "condition=Ready", seconds=budgets.VOLUME_MOVED)
    assert kubectl.execute("ledger-0", ["cat", "/disk/starts"]).split() == ["a1", where(kubectl, "ledger-0")]


def test_an_instance_that_ec2_ends_loses_its_power_and_comes_back_as_another_machine(cluster: Kubectl) -> None:
    instances, before = Instances(), Instances().id_of(B2)
    instances.terminate(B2)
    waiting.until(lambda: not node.is_running(B2), "b2 has lost its power", seconds=budgets.NODE_NOT_READY)
    assert instances.states()["b2"] == State.TERMINATED

    local.switch_on(B2, [image.archive for image in images.all_images()])
    assert instances.states()["b2"] == State.RUNNING
    assert instances.id_of(B2) != before
    assert cluster.get("node", "b2")["spec"]["providerID"].endswith(f"/{instances.id_of(B2)}")


def test_a_raw_device_moves_with_its_pod_and_an_ordinary_user_may_open_it(
    kubectl: Kubectl, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("raw"))
    roll_out(kubectl, "raw", seconds=budgets.POD_RUNS)
    assert where(kubectl, "raw-0") == "b1"
    write = "import os; f = os.open('/dev/wal', os.O_RDWR | os.O_DSYNC); os.pwrite(f, b'kept', 4096)"
    kubectl.execute("raw-0", ["python3", "-c", write])

    node.kill(B1)
    kubectl.wait("node/b1", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    local.vouch_dead(B1)
    waiting.until(lambda: where(kubectl, "raw-0") == "b2", "the pod is elsewhere", seconds=budgets.VOLUME_MOVED)
    kubectl.wait("pod/raw-0", "condition=Ready", seconds=budgets.VOLUME_MOVED)
    read = "import os; print(os.pread(os.open('/dev/wal', os.O_RDONLY), 4, 4096).decode())"
    assert kubectl.execute("raw-0", ["python3", "-c", read]) == "kept\n"


def test_an_attach_that_the_cloud_refuses_for_a_while_is_tried_again(
    kubectl: Kubectl, disks: Disks, manifest: Callable[..., str]
) -> None:
    began = time.time()
    disks.inject({"ControllerPublishVolume": {"error": "UNAVAILABLE"}})
    kubectl.apply(manifest("ledger"))
    waiting.until(lambda: refusals(disks, None, since=began), "an attach is refused", seconds=budgets.POD_RUNS)
    assert disks.all(Attachment) == []

    disks.inject({})
    roll_out(kubectl, "ledger", seconds=budgets.POD_RUNS)


def test_a_disk_is_as_fast_as_its_class_says(kubectl: Kubectl, manifest: Callable[..., str]) -> None:
    kubectl.apply(manifest("slow_class"), manifest("ledger", storage_class="slow"))
    roll_out(kubectl, "ledger", seconds=budgets.POD_RUNS)
    write = ["dd", "if=/dev/zero", "of=/disk/data", "bs=1M", "count=60", "oflag=direct", "conv=fdatasync"]
    began = time.monotonic()
    kubectl.execute("ledger-0", write)
    assert 5.0 <= time.monotonic() - began <= budgets.SLOW_WRITE


def refusals(disks: Disks, volume: str | None, *, since: float) -> list[str]:
    """Why calls on that disk were refused; None for every disk, and for refusals that name none."""
    return [
        event["refused"]
        for event in disks.events()
        if event["at"] >= since and "refused" in event and volume in (None, event.get("volume"))
    ]
