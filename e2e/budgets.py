"""How many seconds things may take, all in one place. Kubernetes' own constants are part of them (see Failover figures).

They are promises for two cores that do nothing else; AUTOMQ_E2E_PATIENCE=3 multiplies them on a machine that is busy.
"""

import os
from typing import Final

PATIENCE: Final = float(os.environ.get("AUTOMQ_E2E_PATIENCE", "1"))


def _seconds(value: float) -> float:
    return value * PATIENCE


POD_RUNS: Final = _seconds(30)
"""A pod of an image that is there, its new volume included."""

BROKER_READY: Final = _seconds(60)
"""A first broker on an empty bucket, its volume included."""

NODE_NOT_READY: Final = _seconds(15)
"""Dead node -> Ready=Unknown: the controller manager's grace period is 8 s."""

VOLUME_MOVED: Final = _seconds(45)
"""Out-of-service taint -> the pod runs elsewhere with its volume: pod garbage collection looks every 20 s."""

NODE_BACK: Final = _seconds(60)
"""Power on -> Ready."""

POD_EVICTED: Final = _seconds(15)
"""Ready=Unknown -> its pods are told to go: they tolerate 5 s."""

SLOW_WRITE: Final = _seconds(10)
"""60 MiB at 10 MiB/s."""

S3_BACK: Final = _seconds(30)
"""The store goes on -> an object can be stored."""

CLUSTER_ENDED: Final = _seconds(60)
"""AutoMQCluster deleted -> gone, its logs uploaded and its volumes deleted."""

CLUSTER_READY: Final = _seconds(60)
"""Operator and AutoMQCluster applied -> condition Ready, images present, three new volumes included."""

TAKEN_OVER: Final = _seconds(90)
"""Out-of-service taint -> the dead broker's log is drained; pod garbage collection looks every 20 s."""

CONTAINER_BACK: Final = _seconds(10)
"""Container killed -> every partition takes records."""

STALL: Final = _seconds(3)
"""The longest time without an acknowledgement in any partition while a broker leaves in order."""

NODE_DRAINED: Final = _seconds(90)
"""kubectl drain, the brokers' disruption budget included."""

SCALED: Final = _seconds(180)
"""kubectl scale -> the brokers are there with their share, or gone with their volumes."""

TAKEN_OVER_BY_TAINT: Final = _seconds(45)
"""Node killed, its death vouched for -> every partition takes records, 256 MiB in the dead broker's log."""

TAKEN_OVER_BY_DETACH: Final = _seconds(105)
"""The same where the VolumeAttachment is deleted: the controller manager needs 13 to 60 s for it."""

TAKEN_OVER_BY_KUBERNETES: Final = _seconds(540)
"""The same where Kubernetes alone acts: it removes the pods of a deleted node after a minute, attachments after six."""

FIRST_MESSAGE: Final = _seconds(60)
"""Operator there, resource applied -> records are acknowledged."""

ROLLED: Final = _seconds(180)
"""Spec changed -> every broker is another one and well."""

WATERMARK_SHARE: Final = _seconds(180)
"""Utilisation crosses the high mark -> a new broker carries its share: a window of 60 s, a start, a rebalance."""

WATERMARK_IN: Final = _seconds(240)
"""Utilisation falls below the low mark -> fewer brokers are wanted, with a window and a pause of 60 s each."""

AUTOSCALED: Final = _seconds(360)
"""Traffic changes -> an HPA has as many brokers as it wants: the status tells it once a minute, and it waits a minute."""

SET: Final = _seconds(10)
"""A setting that brokers take at run time is changed in the spec -> every broker has it."""
