"""What the cluster's services can go through, and that it comes back: the ground of the outage tests."""

import urllib.request
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.aws import services
from e2e.aws.endpoints import S3
from e2e.cluster import control_plane, local, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import NODES
from e2e.pods import roll_out, uid_of

pytestmark = pytest.mark.usefixtures("machines")


def test_pods_live_through_an_outage_of_the_api_server(kubectl: Kubectl, manifest: Callable[..., str]) -> None:
    kubectl.apply(manifest("ledger"))
    roll_out(kubectl, "ledger", seconds=budgets.POD_RUNS)
    before = uid_of(kubectl, "ledger-0")
    control_plane.stop_api_server()
    try:
        assert not kubectl.is_ready()
    finally:
        control_plane.start_api_server()
    waiting.until(lambda: all(map(local.is_ready, NODES)), "all nodes are Ready", seconds=budgets.NODE_BACK)
    assert uid_of(kubectl, "ledger-0") == before
    assert kubectl.get("pod", "ledger-0")["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.usefixtures("cluster")
def test_a_bucket_that_does_not_answer_answers_again() -> None:
    services.pause_s3()
    try:
        with pytest.raises(OSError, match="timed out"):
            urllib.request.urlopen(S3, timeout=2)
    finally:
        services.resume_s3()
    waiting.until(services.stores, "S3 stores an object", seconds=budgets.S3_BACK)
