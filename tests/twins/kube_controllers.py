"""What goes on in a Kubernetes by itself: StatefulSets, scheduler, volumes, attachments, kubelets. One `step` is one pass.

Rules as watched on a real 1.34: a ReadWriteOncePod claim admits one scheduled pod; a volume is attached to one node; a
node that is not ready confirms nothing, so its pods and attachments stay until somebody takes them away.
"""

import copy
from dataclasses import dataclass, field

from automq_operator import names
from automq_operator.kube import Object
from twins.kube_api import KubeTwin

_ADOPTERS_FIRST = {names.ADOPTER: 0}


@dataclass(slots=True)
class Controllers:
    """Nodes are made by `add_node`. `dead` nodes are switched off; `frozen` ones live and say nothing."""

    api: KubeTwin
    dead: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    templates: dict[str, tuple[Object, Object]] = field(default_factory=dict)
    """StatefulSet uid to the current and the new pod template."""
    removed: dict[str, float] = field(default_factory=dict)
    """Nodes whose objects are gone, and since when."""
    exit_codes: dict[str, int] = field(default_factory=dict)
    """Node to the code with which its containers end."""
    is_quick: bool = False
    """A pod is gone in the moment in which its container has ended."""
    is_resizing: bool = True
    """File systems grow with their volumes."""
    is_reclaiming: bool = True
    """Disks can be deleted."""
    full: set[str] = field(default_factory=set)
    """Nodes without room for one more pod."""
    crashing: set[str] = field(default_factory=set)
    """Pods whose container does not stay up."""
    disrupted: dict[str, str] = field(default_factory=dict)
    """Pods whose end is announced, and why."""
    missing_images: set[str] = field(default_factory=set)
    """Images that no registry has."""

    def add_node(self, name: str, zone: str) -> None:
        """Ready."""
        labels = {names.TOPOLOGY_ZONE: zone, "kubernetes.io/hostname": name, names.INSTANCE_TYPE: "m7g.large"}
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": {"providerID": f"aws:///eu-central-1{zone}/i-{name.removeprefix('n')}"},
                "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": self.api.stamp()}]},
            }
        )

    def node(self, name: str) -> Object:
        """The object itself."""
        return self.api.objects["Node", "", name]

    def kill_node(self, name: str) -> None:
        """Power off: nothing of it runs, and nobody is told why."""
        self.dead.add(name)
        self._unready(name)

    def freeze_node(self, name: str) -> None:
        """It runs on and answers nobody."""
        self.frozen.add(name)
        self._unready(name)

    def delete_node(self, name: str) -> None:
        """The object alone: whatever runs on the machine runs on."""
        self.api.remove(self.node(name))
        self.removed[name] = self.api.now

    def _collect_garbage(self) -> None:
        """PodGC: pods of nodes that are gone, after its quarantine; what waits on one that is out of service, at once."""
        for pod in self.api.of("Pod"):
            node = pod["spec"].get("nodeName")
            if node in self.removed and self.api.now - self.removed[node] > 40:
                self.api.remove(pod, is_forced=True)

    def _unready(self, name: str) -> None:
        self.node(name)["status"]["conditions"] = [
            {"type": "Ready", "status": "Unknown", "lastTransitionTime": self.api.stamp()}
        ]

    def taint(self, name: str, key: str) -> None:
        """As an administrator does it."""
        self.node(name)["spec"].setdefault("taints", []).append({"key": key, "effect": "NoExecute"})

    def step(self) -> None:
        """Each controller once."""
        for each in self.api.of("StatefulSet"):
            self._stateful_set(each)
        self._schedule()
        self._attach()
        self._collect_garbage()
        for pod in self.api.of("Pod"):
            self._kubelet(pod)
        for claim in self.api.of("PersistentVolumeClaim"):
            self._expand(claim)
        self._reclaim()

    # --- StatefulSets

    def _stateful_set(self, stateful_set: Object) -> None:
        spec, uid = stateful_set["spec"], stateful_set["metadata"]["uid"]
        current, _ = self.templates.get(uid, (copy.deepcopy(spec["template"]), None))
        self.templates[uid] = (current, copy.deepcopy(spec["template"]))
        pods = {each["metadata"]["name"]: each for each in self.api.of("Pod") if _is_owned(each, uid)}
        start, replicas = spec["ordinals"]["start"], spec["replicas"]
        strategy = spec["updateStrategy"]
        is_rolling = strategy["type"] == "RollingUpdate"
        partition = start + strategy["rollingUpdate"]["partition"] if is_rolling else 0
        wanted = {f"{stateful_set['metadata']['name']}-{start + each}": start + each for each in range(replicas)}
        for name, ordinal in wanted.items():
            if name not in pods:
                self._create(stateful_set, name, ordinal, is_new=ordinal >= partition)
        for name, pod in pods.items():
            if name not in wanted:
                self.api.remove(pod)
        if is_rolling:
            self._roll(stateful_set, pods, wanted, partition)
        alive = [each for each in self.api.of("Pod") if _is_owned(each, uid)]
        stateful_set["status"] = {
            "replicas": len(alive),
            "readyReplicas": sum(map(_is_ready, alive)),
            "currentRevision": current["metadata"]["annotations"][names.REVISION],
        }
        revisions = {each["metadata"]["annotations"][names.REVISION] for each in alive}
        if alive and revisions == {spec["template"]["metadata"]["annotations"][names.REVISION]}:
            self.templates[uid] = (copy.deepcopy(spec["template"]), copy.deepcopy(spec["template"]))

    def _roll(self, stateful_set: Object, pods: dict[str, Object], wanted: dict[str, int], partition: int) -> None:
        revision = stateful_set["spec"]["template"]["metadata"]["annotations"][names.REVISION]
        for name, ordinal in sorted(wanted.items(), key=lambda each: -each[1]):
            pod = pods.get(name)
            if ordinal < partition or pod is None:
                continue
            if pod["metadata"]["annotations"][names.REVISION] != revision:
                self.api.remove(pod)
                return
            if not _is_ready(pod):
                return

    def _create(self, stateful_set: Object, name: str, ordinal: int, *, is_new: bool) -> None:
        metadata, spec = stateful_set["metadata"], stateful_set["spec"]
        template = copy.deepcopy(self.templates[metadata["uid"]][is_new])
        space = metadata["namespace"]
        pod_spec = template["spec"]
        for each in spec.get("volumeClaimTemplates") or ():
            claim = f"{each['metadata']['name']}-{name}"
            if ("PersistentVolumeClaim", space, claim) not in self.api.objects:
                form = copy.deepcopy(each)
                labels = form["metadata"].get("labels", {}) | spec["selector"]["matchLabels"]
                form["metadata"] = {"name": claim, "namespace": space, "labels": labels}
                self.api.put(form)
            volume = {"name": names.CLAIM, "persistentVolumeClaim": {"claimName": claim}}
            pod_spec["volumes"] = [*pod_spec["volumes"], volume]
        labels = template["metadata"]["labels"] | {names.POD_INDEX: str(ordinal), names.POD_NAME: name}
        labels["controller-revision-hash"] = template["metadata"]["annotations"][names.REVISION]
        owner = {"kind": "StatefulSet", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": space,
                    "labels": labels,
                    "annotations": template["metadata"]["annotations"],
                    "ownerReferences": [owner],
                },
                "spec": pod_spec,
                "status": {"phase": "Pending"},
            }
        )

    # --- scheduler and volumes

    def _schedule(self) -> None:
        pods = [each for each in self.api.of("Pod") if not each["spec"].get("nodeName")]
        pods.sort(key=lambda each: _ADOPTERS_FIRST.get(each["metadata"]["labels"]["app.kubernetes.io/component"], 1))
        for pod in pods:
            pod["status"].setdefault("phase", "Pending")
            if "deletionTimestamp" in pod["metadata"]:
                continue
            node, why = self._place(pod)
            if node:
                pod["spec"]["nodeName"] = node
                self._bind(pod, node)
            condition = {"type": "PodScheduled", "status": "True" if node else "False", "message": why}
            pod["status"]["conditions"] = [condition]

    def _place(self, pod: Object) -> tuple[str, str]:
        if not self._has_claim(pod):
            return self._node_for(pod, "")
        claim = self._claim(pod)
        holders = [
            each
            for each in self.api.of("Pod")
            if each["spec"].get("nodeName")
            and each["status"].get("phase") not in ("Succeeded", "Failed")
            and self._claim(each) is claim
        ]
        if claim is not None and holders:
            return "", "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        if claim is None or "deletionTimestamp" in claim["metadata"]:
            return "", "persistentvolumeclaim not found or being deleted"
        return self._node_for(pod, self._zone(claim))

    def _node_for(self, pod: Object, zone: str) -> tuple[str, str]:
        load = {each["metadata"]["name"]: 0 for each in self.api.of("Node")}
        for each in self.api.of("Pod"):
            if each["spec"].get("nodeName") in load:
                load[each["spec"]["nodeName"]] += 1
        for name in sorted(load, key=lambda each: (load[each], each)):
            node = self.node(name)
            labels = node["metadata"]["labels"]
            chosen = pod["spec"].get("nodeSelector", {})
            is_free = self._is_up(name) and name not in self.full and not node["spec"].get("taints")
            fits = is_free and chosen.items() <= labels.items() and zone in ("", labels[names.TOPOLOGY_ZONE])
            if fits and name in _allowed(pod, name):
                return name, ""
        return "", "0 nodes are available"

    def _has_claim(self, pod: Object) -> bool:
        return any("persistentVolumeClaim" in each for each in pod["spec"]["volumes"])

    def _claim(self, pod: Object) -> Object | None:
        for volume in pod["spec"]["volumes"]:
            name = volume.get("persistentVolumeClaim", {}).get("claimName")
            if name:
                return self.api.objects.get(("PersistentVolumeClaim", pod["metadata"]["namespace"], name))
        return None

    def _zone(self, claim: Object) -> str:
        volume = self.api.objects.get(("PersistentVolume", "", claim["spec"].get("volumeName", "")))
        if volume is None:
            return ""
        terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        return str(terms[0]["matchExpressions"][0]["values"][0])

    def _bind(self, pod: Object, node: str) -> None:
        claim = self._claim(pod)
        if claim is None or claim["spec"].get("volumeName"):
            return
        zone = self.node(node)["metadata"]["labels"][names.TOPOLOGY_ZONE]
        expression = {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": [zone]}
        name = f"pv-{claim['metadata']['uid']}"
        claim["spec"]["volumeName"] = name
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "persistentVolumeReclaimPolicy": "Delete",
                    "claimRef": {key: claim["metadata"][key] for key in ("namespace", "name", "uid")},
                    "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": f"vol-{name}"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
                },
            }
        )

    def _reclaim(self) -> None:
        """Volumes of claims that are gone go as well, unless they are to be retained."""
        claims = {each["metadata"]["uid"] for each in self.api.of("PersistentVolumeClaim")}
        for each in self.api.of("PersistentVolume"):
            spec = each["spec"]
            if spec["claimRef"]["uid"] in claims or spec["persistentVolumeReclaimPolicy"] != "Delete":
                continue
            if self.is_reclaiming:
                self.api.remove(each)
            else:
                each["status"] = {"phase": "Failed", "message": "volume is still attached"}

    def _expand(self, claim: Object) -> None:
        if self.is_resizing or "status" not in claim:
            claim.setdefault("status", {})["capacity"] = dict(claim["spec"]["resources"]["requests"])

    def _attach(self) -> None:
        wanted = {}
        for pod in self.api.of("Pod"):
            claim = self._claim(pod)
            is_over = pod["status"].get("phase") in ("Succeeded", "Failed")
            if pod["spec"].get("nodeName") and claim is not None and not is_over:
                wanted[claim["spec"]["volumeName"]] = pod["spec"]["nodeName"]
        attached = {each["spec"]["source"]["persistentVolumeName"]: each for each in self.api.of("VolumeAttachment")}
        for volume, each in attached.items():
            node = each["spec"]["nodeName"]
            if wanted.get(volume) == node:
                continue
            if node in self.removed:
                is_out = self.api.now - self.removed[node] > 360
            else:
                is_out = any(t["key"] == names.OUT_OF_SERVICE for t in self.node(node)["spec"].get("taints", ()))
            if (self._is_up(node) and node not in self.removed) or is_out:
                self.api.remove(each)
        for volume, node in wanted.items():
            if volume not in attached and self._is_up(node):
                spec = {"attacher": "ebs.csi.aws.com", "nodeName": node, "source": {"persistentVolumeName": volume}}
                metadata = {"name": f"csi-{volume}-{node}"}
                kind = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment"}
                self.api.put({**kind, "metadata": metadata, "spec": spec, "status": {"attached": True}})

    # --- kubelets

    def _kubelet(self, pod: Object) -> None:
        node = pod["spec"].get("nodeName")
        if not node or not self._is_up(node):
            return
        status = pod["status"]
        containers = status.setdefault("containerStatuses", [])
        running = containers[0]["state"].get("running") if containers else None
        if "deletionTimestamp" in pod["metadata"]:
            if running:
                self._end(pod, self.exit_codes.get(node, 0))
            if self.is_quick or not running:
                self.api.remove(pod, is_forced=True)
            return
        if status.get("phase") in ("Succeeded", "Failed"):
            return
        image = pod["spec"]["containers"][0]["image"]
        if image in self.missing_images and not running:
            message = f'Back-off pulling image "{image}": not found'
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            status["containerStatuses"] = [{"restartCount": 0, "state": waiting}]
            return
        if pod["metadata"]["name"] in self.crashing:
            if running or not containers:
                self._end(pod, 1)
            containers = status["containerStatuses"]
            containers[0]["restartCount"] += 1
            containers[0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
            return
        if not running and self._is_attached(pod, node):
            count = containers[0]["restartCount"] if containers else 0
            status["phase"] = "Running"
            status["podIP"] = f"10.0.0.{pod['metadata']['uid'][1:]}"
            status["containerStatuses"] = [
                {"restartCount": count, "state": {"running": {"startedAt": self.api.stamp()}}}
            ]
        if "running" in (status.get("containerStatuses") or [{"state": {}}])[0]["state"]:
            status["conditions"] = [{"type": "Ready", "status": "True"}, *self._announced(pod)]

    def _announced(self, pod: Object) -> list[Object]:
        why = self.disrupted.get(pod["metadata"]["uid"])
        return [{"type": "DisruptionTarget", "status": "True", "reason": why}] if why else []

    def _end(self, pod: Object, code: int) -> None:
        containers = pod["status"]["containerStatuses"] or [{"restartCount": 0, "state": {}}]
        started = containers[0]["state"].get("running", {}).get("startedAt", self.api.stamp())
        ended = {"exitCode": code, "startedAt": started, "finishedAt": self.api.stamp(), "reason": "Completed"}
        pod["status"]["containerStatuses"] = containers
        containers[0] |= {"state": {"terminated": ended}, "lastState": {"terminated": ended}}
        pod["status"]["conditions"] = []

    def finish(self, pod: Object, code: int) -> None:
        """An adopter's end."""
        self._end(pod, code)
        pod["status"]["phase"] = "Succeeded" if code == 0 else "Failed"

    def _is_attached(self, pod: Object, node: str) -> bool:
        claim = self._claim(pod)
        name = claim["spec"].get("volumeName") if claim else None
        return not self._has_claim(pod) or any(
            each["spec"]["nodeName"] == node and each["spec"]["source"]["persistentVolumeName"] == name
            for each in self.api.of("VolumeAttachment")
        )

    def _is_up(self, node: str) -> bool:
        return node not in self.dead and node not in self.frozen


def _is_owned(pod: Object, uid: str) -> bool:
    return any(each["uid"] == uid for each in pod["metadata"].get("ownerReferences", ()))


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", ())
    is_going = "deletionTimestamp" in pod["metadata"]
    return not is_going and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _allowed(pod: Object, name: str) -> list[str]:
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return [name]
    return [each["matchFields"][0]["values"][0] for each in required["nodeSelectorTerms"]]
