"""PersistentVolumes for claims, and their end: what the upstream external-provisioner does, in a loop of our own.

Only what the cluster's two storage classes need: WaitForFirstConsumer or Immediate, zone from the chosen node, claimRef,
node affinity, reclaim policy. Everything on a volume goes through the controller's socket, so that there is one way in.
"""

import json
import time
from collections.abc import Callable
from http.client import CONFLICT
from pathlib import Path
from typing import Any

import grpc
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from e2e.csi.answers import DRIVER, ZONE_KEY
from e2e.csi.disks import Attachment, Disks
from e2e.csi.protos import csi, csi_grpc

EVERY_SECONDS = 0.5
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "": 1}


def provision_for_ever(kubeconfig: Path, disks: Disks, socket: Path) -> None:
    """Look again and again; what fails is said in the log and tried again at the next look."""
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        load: Any = config.new_client_from_config
        provisioner = Provisioner(load(str(kubeconfig)), disks, csi_grpc.ControllerStub(channel))
        while True:
            try:
                provisioner.look()
            except (client.ApiException, HTTPError, grpc.RpcError) as error:
                print(f"provisioner: {error}", flush=True)
            time.sleep(EVERY_SECONDS)


class Provisioner:
    """One look after the other; nothing is remembered in between."""

    def __init__(self, api: Any, disks: Disks, controller: Any) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._storage: Any = client.StorageV1Api(api)
        self._disks = disks
        self._controller = controller

    def look(self) -> None:
        """Serve the claims that wait, and let go the volumes that nobody claims any more."""
        for claim in _objects(self._core.list_persistent_volume_claim_for_all_namespaces):
            if _is_waiting(claim):
                self._provision(claim)
        for volume in _objects(self._core.list_persistent_volume):
            if _is_to_be_deleted(volume) and not self._is_attached(volume):
                self._controller.DeleteVolume(csi.DeleteVolumeRequest(volume_id=_handle(volume)))
                self._core.delete_persistent_volume(volume["metadata"]["name"])

    def _provision(self, claim: dict[str, Any]) -> None:
        storage_class = _object(self._storage.read_storage_class, claim["spec"]["storageClassName"])
        node = claim["metadata"]["annotations"].get(SELECTED_NODE)
        if storage_class["volumeBindingMode"] == "WaitForFirstConsumer" and not node:
            return
        request = csi.CreateVolumeRequest(
            name=_volume_name(claim),
            parameters=storage_class.get("parameters") or {},
            volume_capabilities=[_ability(claim)],
        )
        request.capacity_range.required_bytes = _bytes_of(claim["spec"]["resources"]["requests"]["storage"])
        if node:
            zone = _object(self._core.read_node, node)["metadata"]["labels"][ZONE_KEY]
            request.accessibility_requirements.preferred.append(csi.Topology(segments={ZONE_KEY: zone}))
        volume = self._controller.CreateVolume(request).volume
        try:
            self._core.create_persistent_volume(_persistent_volume(claim, storage_class, volume))
        except client.ApiException as error:
            if error.status != CONFLICT:  # made at the last look; the claim is not bound yet
                raise

    def _is_attached(self, volume: dict[str, Any]) -> bool:
        return self._disks.read(Attachment, _handle(volume)) is not None


def _objects(read: Callable[..., Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = _object(read)["items"]
    return items


def _object(read: Callable[..., Any], *arguments: str) -> dict[str, Any]:
    """The answer as Kubernetes wrote it: the client's own classes would rename every field."""
    found: dict[str, Any] = json.loads(read(*arguments, _preload_content=False, _request_timeout=10).data)
    return found


def _is_waiting(claim: dict[str, Any]) -> bool:
    annotations = claim["metadata"].get("annotations", {})
    is_ours = annotations.get(PROVISIONER) == DRIVER
    return is_ours and "volumeName" not in claim["spec"] and "deletionTimestamp" not in claim["metadata"]


def _is_to_be_deleted(volume: dict[str, Any]) -> bool:
    is_ours = volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == DRIVER
    is_free = volume["status"].get("phase") == "Released" and "deletionTimestamp" not in volume["metadata"]
    return is_ours and is_free and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


def _persistent_volume(claim: dict[str, Any], storage_class: dict[str, Any], volume: Any) -> dict[str, Any]:
    is_block = claim["spec"].get("volumeMode") == "Block"
    source = {"driver": DRIVER, "volumeHandle": volume.volume_id} | ({} if is_block else {"fsType": "ext4"})
    reference = {name: claim["metadata"][name] for name in ("namespace", "name", "uid")}
    terms = [
        {"key": key, "operator": "In", "values": [value]}
        for topology in volume.accessible_topology
        for key, value in topology.segments.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _volume_name(claim), "annotations": {PROVISIONED_BY: DRIVER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": claim["spec"]["storageClassName"],
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
            "csi": source,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": terms}]}},
        },
    }


def _ability(claim: dict[str, Any]) -> Any:
    ability = csi.VolumeCapability()
    ability.access_mode.mode = csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    if claim["spec"].get("volumeMode") == "Block":
        ability.block.SetInParent()
    else:
        ability.mount.fs_type = "ext4"
    return ability


def _volume_name(claim: dict[str, Any]) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def _handle(volume: dict[str, Any]) -> str:
    handle: str = volume["spec"]["csi"]["volumeHandle"]
    return handle


def _bytes_of(quantity: str) -> int:
    unit = quantity[-2:] if quantity[-2:] in _UNITS else ""
    return int(float(quantity.removesuffix(unit)) * _UNITS[unit])
