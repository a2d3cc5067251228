"""Suspicion is not death. What counts as proof that a broker can write nothing more, and what never does."""

from automq_operator.world import PROOFS_ABOUT_HOSTS, Adopter, Host, Instance, InstanceState, Proof, World


def proof_of_death(world: World, instance: Instance | None) -> Proof | None:
    """Why this instance is certainly dead; None while that is only likely.

    A proof about the machine is void while that machine is ready: then it, or its name, is back in service.
    """
    if instance is None or instance.proof is None:
        return None
    if instance.proof in PROOFS_ABOUT_HOSTS:
        return None if _is_ready(world.host(instance.host)) else instance.proof
    return instance.proof if instance.state is InstanceState.ENDED else None


def proof_of_lost_adopter(world: World, adopter: Adopter) -> Proof | None:
    """Why this adopter, which never reported its end, is certainly dead: the same ladder, for its machine."""
    if adopter.proof not in PROOFS_ABOUT_HOSTS or _is_ready(world.host(adopter.host)):
        return None
    return adopter.proof


def _is_ready(host: Host | None) -> bool:
    return host is not None and host.is_ready


def is_well(world: World, instance: Instance | None) -> bool:
    """Whether it runs, answers, and its machine is ready."""
    if instance is None or instance.state is not InstanceState.RUNNING:
        return False
    return _is_ready(world.host(instance.host))


def is_usable(host: Host | None) -> bool:
    """Whether something may be put on this machine."""
    return host is not None and host.is_ready and not host.is_leaving


__all__ = ["is_usable", "is_well", "proof_of_death", "proof_of_lost_adopter"]
