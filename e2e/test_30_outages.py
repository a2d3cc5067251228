"""What brokers stand on is away for a while, under load: first the bucket, then Kubernetes itself."""

import time

import pytest

from e2e import budgets
from e2e.aws import services
from e2e.brokers import has_ready, starts
from e2e.cluster import control_plane, local, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import NODES
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn

pytestmark = pytest.mark.usefixtures("machines", "operator")

BUCKET_AWAY_SECONDS = 60.0
KUBERNETES_AWAY_SECONDS = 120.0


def test_a_bucket_that_is_away_for_a_minute_ends_no_broker_and_loses_nothing(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    before, began = starts(kubectl), time.monotonic()
    services.pause_s3()
    try:
        time.sleep(BUCKET_AWAY_SECONDS)
        assert starts(kubectl) == before
        away = clients.longest_stall(began)
    finally:
        services.resume_s3()
    back = time.monotonic()
    figure("bucket is back -> everything is writable", clients.writable_after(back, seconds=120), most=budgets.S3_BACK)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    clients.judge()
    assert starts(kubectl) == before
    figure("bucket away for 60 s, longest produce stall meanwhile", away, most=budgets.STALL)


def test_clients_do_not_notice_that_kubernetes_is_away_for_two_minutes(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    began = time.monotonic()
    control_plane.stop_api_server()
    try:
        time.sleep(KUBERNETES_AWAY_SECONDS)
        away = clients.longest_stall(began)
    finally:
        control_plane.start_api_server()
    back = time.monotonic()
    waiting.until(lambda: all(map(local.is_ready, NODES)), "all nodes are Ready", seconds=budgets.NODE_BACK)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    figure("Kubernetes is back -> three brokers are well", time.monotonic() - back)
    clients.judge()
    figure("Kubernetes away for 120 s, longest produce stall meanwhile", away, most=budgets.STALL)
