"""EC2's books about machines: one instance per node, by its tag Name."""

from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from e2e.aws.endpoints import EC2, client
from e2e.cluster.layout import INSTANCE_TYPE, Node

IMAGE = "ami-03cf127a"
"""One of those that moto knows from its start; nothing boots from it."""


class State(StrEnum):
    """What EC2 says about an instance, as far as it matters here."""

    RUNNING = "running"
    STOPPED = "stopped"
    TERMINATED = "terminated"


class Instances:
    """The instances of the nodes. A node that was terminated has the newest of several."""

    def __init__(self) -> None:
        self._ec2 = client("ec2", EC2)

    def answers(self) -> bool:
        """Whether EC2 is there."""
        try:
            self._ec2.describe_regions()
        except (BotoCoreError, ClientError):
            return False
        return True

    def states(self) -> dict[str, str]:
        """Node name -> state of its instance."""
        return {name: instance["State"]["Name"] for name, instance in self._newest().items()}

    def id_of(self, node: Node) -> str | None:
        """The id of the node's instance, also of a terminated one; None if it never had any."""
        instance = self._newest().get(node.name)
        return str(instance["InstanceId"]) if instance else None

    def switch_on(self, node: Node) -> str:
        """The id of a running instance: the node's own, started if it was stopped, or a new one if that is terminated."""
        instance = self._newest().get(node.name)
        state = instance["State"]["Name"] if instance else State.TERMINATED
        if instance and state != State.TERMINATED:
            if state == State.STOPPED:
                self._ec2.start_instances(InstanceIds=[instance["InstanceId"]])
            return str(instance["InstanceId"])
        return self._launch(node)

    def stop(self, node: Node) -> None:
        """Ask EC2 to stop the instance."""
        self._ec2.stop_instances(InstanceIds=[self._newest()[node.name]["InstanceId"]])

    def terminate(self, node: Node) -> None:
        """Ask EC2 to end the instance for good."""
        self._ec2.terminate_instances(InstanceIds=[self._newest()[node.name]["InstanceId"]])

    def _launch(self, node: Node) -> str:
        instance: str = self._ec2.run_instances(
            ImageId=IMAGE,
            InstanceType=INSTANCE_TYPE,
            MinCount=1,
            MaxCount=1,
            Placement={"AvailabilityZone": node.zone},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": node.name}]}],
        )["Instances"][0]["InstanceId"]
        return instance

    def _newest(self) -> dict[str, Any]:
        instances = [
            instance
            for reservation in self._ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
        ]
        by_age = sorted(
            instances, key=lambda instance: (instance["State"]["Name"] != State.TERMINATED, instance["LaunchTime"])
        )
        return {tag["Value"]: one for one in by_age for tag in one.get("Tags", []) if tag["Key"] == "Name"}
