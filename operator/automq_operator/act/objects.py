"""Steps about what a cluster consists of."""

import secrets
from typing import Final

from automq_operator import kube, names
from automq_operator.act import certificates
from automq_operator.act.hands import Hands
from automq_operator.kube import KINDS, ConflictError, NotFoundError, Object
from automq_operator.loop import StepFailedError
from automq_operator.observe.frame import bases_of
from automq_operator.shapes.drift import marked
from automq_operator.shapes.manifests import internal_secret
from automq_operator.steps import ApplyObject, DeleteObject, DeleteVolume

_SECRET_BYTES: Final = 32


async def apply(step: ApplyObject, hands: Hands) -> None:
    """Server-side apply of what is wanted; the few kinds that are not wholly ours are patched."""
    match step.kind:
        case "AutoMQCluster":
            await _claim(hands)
        case "Secret":
            await _secret(step.name, hands)
        case "PersistentVolumeClaim":
            claim = _seen(hands.look.claims, step)
            size = {"op": "replace", "path": "/spec/resources/requests/storage", "value": hands.cluster.spec.wal.size}
            await hands.api.patch(kube.CLAIM, hands.cluster.namespace, step.name, [*_same(claim), size])
        case "Pod":
            await _hold_or_free(_seen(hands.look.pods, step), hands)
        case "PersistentVolume":
            await _keep_volume(_seen(hands.look.volumes or [], step), hands)
        case _:
            wanted = next(
                (m for m in hands.wanted if m["kind"] == step.kind and m["metadata"]["name"] == step.name), None
            )
            if wanted is None:
                raise StepFailedError("it is not wanted any more")
            await hands.api.apply(KINDS[step.kind], marked(wanted))


async def _secret(name: str, hands: Hands) -> None:
    cluster = hands.cluster.name
    if name == names.authority_secret(cluster):
        await certificates.renew_authority(hands)
    elif name == names.certificate_secret(cluster):
        await certificates.renew_certificate(hands)
    else:
        await _make_secret(hands)


async def _make_secret(hands: Hands) -> None:
    """Once: what exists is never written over, since brokers that run have it."""
    made = internal_secret(hands.cluster, secrets.token_urlsafe(_SECRET_BYTES), secrets.token_urlsafe(_SECRET_BYTES))
    try:
        await hands.api.create(kube.SECRET, made)
    except ConflictError:
        return


async def _keep_volume(volume: Object, hands: Hands) -> None:
    """Retain, and a note of what it was, so that it can be given back."""
    before = volume["spec"].get("persistentVolumeReclaimPolicy", "Delete")
    metadata = volume["metadata"]
    note: Object = {"op": "add", "path": f"/metadata/annotations/{_escaped(names.RECLAIM)}", "value": before}
    if "annotations" not in metadata:
        note = {"op": "add", "path": "/metadata/annotations", "value": {names.RECLAIM: before}}
    policy = {"op": "add", "path": "/spec/persistentVolumeReclaimPolicy", "value": "Retain"}
    await hands.api.patch(kube.VOLUME, "", metadata["name"], [*_same(volume), note, policy])


async def delete(step: DeleteObject, hands: Hands) -> None:
    """Only the one that was seen."""
    await hands.api.delete(KINDS[step.kind], hands.cluster.namespace, step.name, step.uid)


async def delete_volume(step: DeleteVolume, hands: Hands) -> None:
    """The claim, and with it the volume: its old reclaim policy is given back first.

    SAFETY: the uid names the very claim that was seen to be clean; another one of that name stays.
    """
    claim = next((each for each in hands.look.claims if each["metadata"]["uid"] == step.uid), None)
    for volume in hands.look.volumes or ():
        before = volume["metadata"].get("annotations", {}).get(names.RECLAIM)
        if _is_behind(volume, claim, step.uid) and before not in (None, "Retain"):
            policy = {"op": "add", "path": "/spec/persistentVolumeReclaimPolicy", "value": before}
            try:
                await hands.api.patch(kube.VOLUME, "", volume["metadata"]["name"], [_uid(volume), policy])
            except NotFoundError:
                continue
    if claim is not None:
        await hands.api.delete(kube.CLAIM, hands.cluster.namespace, claim["metadata"]["name"], step.uid)


def _is_behind(volume: Object, claim: Object | None, uid: str) -> bool:
    """Whether it is the volume of the claim with this uid, also when that is gone."""
    if (volume["spec"].get("claimRef") or {}).get("uid") == uid:
        return True
    return claim is not None and bool(volume["metadata"]["name"] == claim["spec"].get("volumeName"))


async def _hold_or_free(pod: Object, hands: Hands) -> None:
    """One that runs stays when it has ended; one that has ended goes."""
    metadata = pod["metadata"]
    present = metadata.get("finalizers", [])
    wanted = [each for each in present if each != names.POD_FINALIZER]
    if "deletionTimestamp" not in metadata and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
        wanted.append(names.POD_FINALIZER)
    if wanted != present:
        change = {"op": "add", "path": "/metadata/finalizers", "value": wanted}
        await hands.api.patch(kube.POD, hands.cluster.namespace, metadata["name"], [*_same(pod), change])


async def _claim(hands: Hands) -> None:
    """Put the zones' node ids on record, then set our finalizer, so that a deleted cluster ends in order."""
    resource, metadata = hands.look.resource, hands.look.resource["metadata"]
    zones = [{"name": each, "base": base} for each, base in bases_of(resource, hands.cluster.spec).items()]
    change = {"op": "add", "path": "/status", "value": (resource.get("status") or {}) | {"zones": zones}}
    namespace, name = metadata["namespace"], metadata["name"]
    resource = await hands.api.patch(kube.CLUSTER, namespace, name, [*_same(resource), change], "status")
    present = metadata.get("finalizers", [])
    if names.FINALIZER not in present:
        change = {"op": "add", "path": "/metadata/finalizers", "value": [*present, names.FINALIZER]}
        await hands.api.patch(kube.CLUSTER, namespace, name, [*_same(resource), change])


async def let_go(hands: Hands) -> None:
    """Take our finalizers away: the API server removes the resource, and what it owns is collected.

    ORDER: those of pods first, since nobody comes back for them.
    """
    for pod in (each for each in hands.look.left if names.POD_FINALIZER in each["metadata"].get("finalizers", [])):
        rest = [each for each in pod["metadata"]["finalizers"] if each != names.POD_FINALIZER]
        free = {"op": "add", "path": "/metadata/finalizers", "value": rest}
        await hands.api.patch(kube.POD, hands.cluster.namespace, pod["metadata"]["name"], [_uid(pod), free])
    resource = await hands.api.get(kube.CLUSTER, hands.cluster.namespace, hands.cluster.name)
    metadata = resource["metadata"]
    left = [each for each in metadata.get("finalizers", []) if each != names.FINALIZER]
    change = {"op": "add", "path": "/metadata/finalizers", "value": left}
    await hands.api.patch(kube.CLUSTER, metadata["namespace"], metadata["name"], [*_same(resource), change])


def _seen(objects: list[Object], step: ApplyObject) -> Object:
    found = next((each for each in objects if each["metadata"]["name"] == step.name), None)
    if found is None:
        raise StepFailedError("it is gone")
    return found


def _same(obj: Object) -> list[Object]:
    """The object must be the one that was seen, as it was seen."""
    version = obj["metadata"]["resourceVersion"]
    return [_uid(obj), {"op": "test", "path": "/metadata/resourceVersion", "value": version}]


def _uid(obj: Object) -> Object:
    return {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


__all__ = ["apply", "delete", "delete_volume", "let_go"]
