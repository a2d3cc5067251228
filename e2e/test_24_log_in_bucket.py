"""Logs that lie in a bucket: no volume is there, comes or moves, and a broker of any zone stands in for any other."""

import time
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, id_of, kill_node, status
from e2e.cluster import layout, local, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.csi.disks import Disks, Volume
from e2e.load import LoadOn
from e2e.test_20_node_kill import ALONE, RARE_UPLOADS, adopted

pytestmark = pytest.mark.usefixtures("machines", "operator")

LOG_IN_BUCKET: dict[str, Any] = {"wal": {"type": "S3", "storageClassName": None}, "deletionPolicy": "Retain"}


def test_a_dead_brokers_log_is_drained_by_a_survivor_of_another_zone_without_any_volume(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, disks: Disks
) -> None:
    volumes, began = disks.all(Volume), time.monotonic()
    spec = {"template": {"affinity": ALONE}, "config": RARE_UPLOADS}
    clients = load(orders(brokers=spec, **LOG_IN_BUCKET))
    figure("log in the bucket: resource applied -> records in all partitions", time.monotonic() - began)
    assert kubectl.list("pvc") == []
    pod, place = next((pod, place) for pod, place in brokers(kubectl).items() if place.startswith("b"))
    clients.fill(64, broker=id_of(pod, kubectl))

    victim = layout.node(place)
    other = next(one for one in layout.NODES if one.zone == victim.zone and one != victim)
    kubectl.run("cordon", other.name)  # its next pod would recover the log itself, if it came first
    killed = kill_node(kubectl, victim)
    local.vouch_dead(victim)
    tainted = time.monotonic()
    took = clients.writable_after(killed, seconds=budgets.TAKEN_OVER)
    figure("log in the bucket: node killed -> everything is writable", took, most=budgets.TAKEN_OVER_BY_TAINT)
    figure("of these after the taint", took - (tainted - killed))
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    kubectl.run("uncordon", other.name)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    for stage in status(kubectl)["recoveries"][-1]["stages"]:
        figure(f"of these: {stage['name']}", stage["seconds"])
    assert brokers(kubectl)[pod] == other.name
    clients.judge()
    assert kubectl.list("pvc") == []
    assert disks.all(Volume) == volumes
