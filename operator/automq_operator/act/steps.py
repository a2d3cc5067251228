"""One step of a plan as calls. Raises loop.StepFailedError with the reason; the next plan sees the world as it is then."""

from typing import assert_never

from automq_broker.contract import admin

from automq_operator.act import brokers, objects, pods
from automq_operator.act.hands import Hands
from automq_operator.broker_api import NoAnswerError, RefusedError
from automq_operator.kube import KubeError
from automq_operator.loop import StepFailedError
from automq_operator.steps import (
    ApplyObject,
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    DeleteObject,
    DeleteVolume,
    DrainBroker,
    GrantRescue,
    LetGo,
    ReleaseVolume,
    ScaleTo,
    SetConfigs,
    StartBroker,
    Step,
    StopBroker,
    UncordonBroker,
    UntaintHost,
)


async def carry_out(step: Step, hands: Hands) -> None:
    """See loop.Platform.act."""
    try:
        await _carry_out(step, hands)
    except (KubeError, NoAnswerError, RefusedError) as error:
        raise StepFailedError(f"{type(error).__name__.removesuffix('Error')}: {error}") from error


async def _carry_out(step: Step, hands: Hands) -> None:
    match step:
        case ApplyObject():
            await objects.apply(step, hands)
        case DeleteObject():
            await objects.delete(step, hands)
        case DeleteVolume():
            await objects.delete_volume(step, hands)
        case LetGo():
            await objects.let_go(hands)
        case CreateAdopter():
            await pods.create_adopter(step, hands)
        case DeleteAdopter():
            await pods.delete_adopter(step, hands)
        case ReleaseVolume():
            await pods.release_volume(step, hands)
        case StartBroker() | StopBroker():
            await brokers.carry_out(step, hands)
        case UntaintHost():
            await pods.untaint_host(step, hands)
        case ScaleTo():
            # What is wanted was remembered before this step, and is what the next turn compares with.
            return
        case GrantRescue() | ConfirmDrained() | DrainBroker() | UncordonBroker() | SetConfigs():
            await _ask(step, hands)
        case _:
            assert_never(step)


async def _ask(step: GrantRescue | ConfirmDrained | DrainBroker | UncordonBroker | SetConfigs, hands: Hands) -> None:
    match step:
        case GrantRescue(key=key):
            await pods.still_dead(step, hands)
            rescue = admin.RescueRequest(node_id=key.node_id, broker_epoch=key.broker_epoch, rescue=key.rescue)
            await hands.brokers.change(hands.answering, admin.RESCUE, admin.RescueGranted, rescue)
        case ConfirmDrained(key=key):
            done = admin.AdoptDoneRequest(node_id=key.node_id, broker_epoch=step.granted_epoch)
            await hands.brokers.change(hands.answering, admin.ADOPT_DONE, admin.Done, done)
        case DrainBroker() | UncordonBroker():
            is_cancelled = isinstance(step, UncordonBroker)
            drain = admin.DrainRequest(node_id=step.node_id, is_cancelled=is_cancelled)
            await hands.brokers.change(hands.answering, admin.DRAIN, admin.Drained, drain)
        case SetConfigs():
            configs = admin.ConfigsRequest(set=dict(step.upserts), unset=step.deletes)
            await hands.brokers.change(hands.answering, admin.CONFIGS, admin.Configs, configs)


__all__ = ["carry_out"]
