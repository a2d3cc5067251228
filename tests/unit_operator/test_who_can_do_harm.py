"""Who can do harm, and what stops it, the operator's row: nothing is taken away from a broker that may still run."""

from dataclasses import replace

import pytest
from automq_operator.decide.plan import plan
from automq_operator.decide.values import FailoverPolicy, Policy
from automq_operator.steps import DESTRUCTIVE, CreateAdopter, GrantRescue, Step
from automq_operator.world import PROOFS_ABOUT_HOSTS, Proof
from twins.operator_world import ClusterTwin

POLICY = Policy(failover=FailoverPolicy(restart_grace_s=0))


def an_hour_of(twin: ClusterTwin) -> list[Step]:
    """Everything that an operator does meanwhile."""
    done: list[Step] = []
    for _ in range(60):
        planned = plan(twin.world(), twin.now, POLICY)
        twin.memory = planned.memory
        for step in planned.steps:
            twin.carry_out(step)
        done += planned.steps
        twin.pass_time(60)
    return done


@pytest.mark.parametrize("is_releasing_needed", [False, True], ids=["processes", "volumes that are attached"])
def test_a_silent_broker_keeps_its_volume_and_its_epoch(is_releasing_needed: bool) -> None:
    twin = ClusterTwin.of(3)
    twin.is_releasing_needed = is_releasing_needed
    twin.freeze(2)
    steps = an_hour_of(twin)
    assert not [step for step in steps if isinstance(step, (*DESTRUCTIVE, GrantRescue, CreateAdopter))]
    assert twin.harmed == []


@pytest.mark.parametrize("proof", sorted(PROOFS_ABOUT_HOSTS))
def test_a_broker_on_a_machine_that_is_ready_keeps_them_whatever_is_claimed_about_the_machine(proof: Proof) -> None:
    twin = ClusterTwin.of(3)
    twin.is_releasing_needed = True
    twin.freeze(2)
    twin.instances[2] = replace(twin.instances[2], proof=proof)
    steps = an_hour_of(twin)
    assert not [step for step in steps if isinstance(step, (*DESTRUCTIVE, GrantRescue, CreateAdopter))]
    assert twin.harmed == []
