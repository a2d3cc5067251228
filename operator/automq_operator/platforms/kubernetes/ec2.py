"""EC2 as observe.machines.Provider: three calls, short, with the operator's own identity (IRSA, EKS Pod Identity)."""

import asyncio
import re
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from automq_operator.observe.machines import MachineState, ProviderError

_PROVIDER_ID: Final = re.compile(r"aws:///([a-z0-9-]+)/(i-[0-9a-f]+)")
_CONFIG: Final = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
_ENDED: Final = frozenset({"stopped", "terminated"})
_UNKNOWN: Final = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})


class Ec2:
    """The endpoint is boto3's own business (AWS_ENDPOINT_URL_EC2)."""

    async def state(self, machine: str, region: str | None, volume: str) -> MachineState:
        """See observe.machines.Provider."""
        return await asyncio.to_thread(self._state, machine, region, volume)

    def _state(self, machine: str, region: str | None, volume: str) -> MachineState:
        client, instance = _client_of(machine, region)
        try:
            answer = client.describe_instances(InstanceIds=[instance])
        except ClientError as error:
            if error.response["Error"]["Code"] in _UNKNOWN:
                return _without_machine(client, volume)
            raise ProviderError(str(error)) from error
        except BotoCoreError as error:
            raise ProviderError(str(error)) from error
        states = [each["State"]["Name"] for found in answer["Reservations"] for each in found["Instances"]]
        if not states:
            return _without_machine(client, volume)
        return MachineState.STOPPED if set(states) <= _ENDED else MachineState.ALIVE

    async def terminate(self, machine: str, region: str | None) -> None:
        """See observe.machines.Provider."""
        await asyncio.to_thread(self._terminate, machine, region)

    def _terminate(self, machine: str, region: str | None) -> None:
        client, instance = _client_of(machine, region)
        try:
            client.terminate_instances(InstanceIds=[instance])
        except ClientError as error:
            if error.response["Error"]["Code"] not in _UNKNOWN:
                raise ProviderError(str(error)) from error
        except BotoCoreError as error:
            raise ProviderError(str(error)) from error


def _without_machine(client: Any, volume: str) -> MachineState:
    """SAFETY: no such machine may mean the wrong account or region, so the volume must be known there, and free."""
    if not volume.startswith("vol-"):
        return MachineState.ALIVE
    try:
        found = client.describe_volumes(VolumeIds=[volume])["Volumes"]
    except (ClientError, BotoCoreError) as error:
        raise ProviderError(str(error)) from error
    is_free = len(found) == 1 and found[0]["State"] == "available"
    return MachineState.GONE if is_free else MachineState.ALIVE


def _client_of(machine: str, region: str | None) -> tuple[Any, str]:
    match = _PROVIDER_ID.fullmatch(machine)
    if match is None:
        raise ProviderError(f"{machine!r} is no EC2 instance")
    try:
        return _client(region or match[1].rstrip("abcdefghijklmnopqrstuvwxyz")), match[2]
    except BotoCoreError as error:
        raise ProviderError(str(error)) from error


@cache
def _client(region: str) -> Any:
    return boto3.session.Session().client("ec2", region_name=region, config=_CONFIG)


__all__ = ["Ec2"]
