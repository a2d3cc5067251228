"""Metadata without a seat: reading it for tools that only look."""

import asyncio
from random import Random

from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.meta.head import Head
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, NotFound

LOADS_MAX = 20
"""How often a tool follows a head that moves on while it is read."""


async def read_cluster(bucket: Bucket, rng: Random) -> tuple[Head, State]:
    """The head and the state that it stands for, at one moment; changes nothing, also beside a live controller.

    Raises Refused when there is no cluster, no access or a newer format, Corrupt for damage and for what is missing.
    """
    knobs = ControlKnobs()
    patient = PatientBucket(bucket, rng, knobs)
    for attempt in range(LOADS_MAX):
        found = await patient.read_head()
        if found is None:
            raise Refused(
                "the bucket prefix holds no cluster (no object meta/head): wrong bucket or prefix? "
                "If its head was lost, `automq rescue` rebuilds it"
            )
        try:
            return found.head, (await load_state(patient, found.head, knobs)).state
        except NotFound as gone:
            missing = str(gone)
            await asyncio.sleep(0.05 * attempt)
    raise Corrupt(f"the metadata cannot be read: {missing} is missing, and the head still needs it")


__all__ = ["read_cluster"]
