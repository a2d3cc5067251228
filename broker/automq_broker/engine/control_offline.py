"""Metadata without a seat: reading it for tools that only look, and planting it anew where the head was lost."""

import asyncio
from random import Random

from automq_broker.engine.control_head import Overtaken, PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.kernel.errors import Refused
from automq_broker.lake.keys import snapshot_key
from automq_broker.meta.head import Head, Holder
from automq_broker.meta.rows import NO_NODE, NO_UUID
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, NotFound

LOADS_MAX = 20
"""How often a tool follows a head that moves on while it is read."""


async def read_cluster(bucket: Bucket, rng: Random) -> tuple[Head, State]:
    """The head and the state that it stands for, at one moment; changes nothing, also beside a live controller.

    Raises Refused when there is no cluster, no access or a newer format, Corrupt for damage.
    """
    knobs = ControlKnobs()
    patient = PatientBucket(bucket, rng, knobs)
    for attempt in range(LOADS_MAX):
        found = await patient.read_head()
        if found is None:
            raise Refused("the bucket prefix holds no cluster (no object meta/head)")
        try:
            return found.head, (await load_state(patient, found.head, knobs)).state
        except NotFound as gone:
            missing = str(gone)
            await asyncio.sleep(0.05 * attempt)
    raise Refused(f"the metadata cannot be read: {missing} is missing, and the head still needs it")


async def plant_cluster(bucket: Bucket, state: State, rng: Random) -> Head:
    """Store `state` as a snapshot and put a head for it where there is none; the next broker to start takes the seat.

    Raises Refused if a head exists: it is never replaced.
    """
    patient = PatientBucket(bucket, rng, ControlKnobs())
    if await patient.read_head() is not None:
        raise Refused("the bucket prefix has a head already")
    nonce = f"{rng.getrandbits(128):032x}"
    key = snapshot_key(1, nonce)
    await patient.put(key, list(encode_snapshot(state)))
    head = Head(
        cluster_id=state.cluster_id,
        epoch=state.last_epoch,
        holder=Holder(node_id=NO_NODE, endpoint="", volume_uuid=NO_UUID, incarnation=NO_UUID),
        seq=1,
        nonce=nonce,
        renew_s=0.0,
        is_released=True,
        snapshot=key,
        snapshot_seq=1,
    )
    try:
        return (await patient.swap_head(head, None)).head
    except Overtaken as other:
        raise Refused(f"the bucket prefix got a head meanwhile: {other}") from other


__all__ = ["plant_cluster", "read_cluster"]
