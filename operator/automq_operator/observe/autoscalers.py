"""What autoscalers that drive a cluster may ask for and the resource refuses, which the API server tells to them alone."""

from automq_operator import kube
from automq_operator.kube import Object
from automq_operator.spec import Autoscaling


def target_of(autoscaler: Object) -> tuple[str, str] | None:
    """Namespace and name of the AutoMQCluster that it drives; None if it drives something else."""
    target = autoscaler.get("spec", {}).get("scaleTargetRef") or {}
    is_ours = str(target.get("apiVersion", "")).partition("/")[0] == kube.CLUSTER.group
    if target.get("kind") != kube.CLUSTER.kind or not is_ours:
        return None
    return str(autoscaler["metadata"].get("namespace", "")), str(target.get("name", ""))


def refusal(autoscalers: list[Object], scaling: Autoscaling) -> str:
    """Of the first one whose range is not within the resource's; "" if all are."""
    for each in sorted(autoscalers, key=lambda one: str(one["metadata"]["name"])):
        why = _why_refused(each["spec"], scaling)
        if why:
            return f"HorizontalPodAutoscaler {each['metadata']['name']} {why}"
    return ""


def _why_refused(wanted: Object, scaling: Autoscaling) -> str:
    if scaling.mode == "Watermark":
        return "drives the resource, but in autoscaling mode Watermark the operator decides"
    # Kubernetes' own default is one.
    least, most = int(wanted.get("minReplicas") or 1), int(wanted["maxReplicas"])
    if least >= scaling.min_replicas and most <= scaling.max_replicas:
        return ""
    allowed = f"autoscaling.minReplicas and maxReplicas allow {scaling.min_replicas} to {scaling.max_replicas}"
    return f"may ask for {least} to {most} brokers, but {allowed}"


__all__ = ["refusal", "target_of"]
