"""EC2 as the operator asks it, against an endpoint on the loopback that speaks EC2's protocol."""

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from automq_operator.observe.machines import MachineState, ProviderError
from automq_operator.platforms.kubernetes import ec2
from automq_operator.platforms.kubernetes.ec2 import Ec2
from moto.server import ThreadedMotoServer

ZONE = "eu-central-1a"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the account's own, besides the operator's."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    _, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", f"http://127.0.0.1:{port}")
    ec2._client.cache_clear()
    yield boto3.client("ec2", region_name="eu-central-1")
    ec2._client.cache_clear()
    server.stop()


def made(cloud: Any) -> tuple[str, str]:
    instance = cloud.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    volume = cloud.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    return instance, volume


def state(instance: str, volume: str) -> MachineState:
    return asyncio.run(Ec2().state(f"aws:///{ZONE}/{instance}", None, volume))


def test_a_machine_is_dead_when_it_is_stopped_or_terminated_and_not_before(cloud: Any) -> None:
    instance, volume = made(cloud)
    assert state(instance, volume) is MachineState.ALIVE
    cloud.stop_instances(InstanceIds=[instance])
    assert state(instance, volume) is MachineState.STOPPED
    asyncio.run(Ec2().terminate(f"aws:///{ZONE}/{instance}", None))
    assert state(instance, volume) is MachineState.STOPPED
    found = cloud.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"


def test_a_machine_that_nobody_knows_is_gone_only_if_its_volume_is_known_there_and_free(cloud: Any) -> None:
    instance, volume = made(cloud)
    unknown = "i-0123456789abcdef0"
    assert state(unknown, volume) is MachineState.GONE
    assert state(unknown, "") is MachineState.ALIVE
    cloud.attach_volume(Device="/dev/sdf", InstanceId=instance, VolumeId=volume)
    assert state(unknown, volume) is MachineState.ALIVE
    with pytest.raises(ProviderError):
        state(unknown, "vol-0123456789abcdef0")


@pytest.mark.parametrize("machine", ["", "gce://project/zone/name", "aws:///eu-central-1a/fargate-10.0.0.1"])
def test_a_machine_of_another_provider_is_nothing_that_ec2_could_prove_dead(machine: str) -> None:
    with pytest.raises(ProviderError, match="no EC2 instance"):
        asyncio.run(Ec2().state(machine, None, ""))


def test_an_endpoint_that_does_not_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
    ec2._client.cache_clear()
    with pytest.raises(ProviderError):
        state("i-0123456789abcdef0", "")
    ec2._client.cache_clear()
