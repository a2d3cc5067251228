"""A start that the controller will refuse is refused before it has waited for a controller.

Where the recorded controller is this node on another volume, its seat is free only after its session: nobody is there to
refuse the registration until then, and if it lives (two processes with one node id) nobody ever will be.
"""

from random import Random

from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.meta.commands import RegisterNode
from automq_broker.ports import Bucket, NotFound


async def foresee_refusal(bucket: Bucket, command: RegisterNode, rng: Random) -> None:
    """Ask the metadata as they are in the bucket, where only this node could. Changes nothing.

    Raises Refused as the registration would. Returning promises nothing: the controller decides.
    """
    knobs = ControlKnobs()
    patient = PatientBucket(bucket, rng, knobs)
    found = await patient.read_head()
    if found is None or found.head.is_released:
        return
    holder = found.head.holder
    if holder.node_id != command.node_id or holder.volume_uuid == command.volume_uuid:
        return
    try:
        loaded = await load_state(patient, found.head, knobs)
    except NotFound:  # the head has moved on, so there is a controller that can be asked
        return
    loaded.state.decide(command)


__all__ = ["foresee_refusal"]
