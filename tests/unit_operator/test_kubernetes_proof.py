"""A machine's provider is asked whether it is dead, its answer is proof when it comes twice, and its node lets go."""

import pytest
from automq_operator import kube, names
from automq_operator.observe.machines import APART_S, MachineState, ProviderError, Verdicts
from automq_operator.platforms.kubernetes.keeper import Keeper
from automq_operator.world import Proof
from twins.kube_world import KubeWorld
from twins.virtual_time import run_virtual

EC2 = {"cloudApi": "EC2"}


def running(**failover: object) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of()
    world.create(failover={"restartGraceSeconds": 10, "proof": EC2} | failover)
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def node_of(world: KubeWorld, node_id: int) -> str:
    return str(world.pod(node_id)["spec"]["nodeName"])


def is_recovered(world: KubeWorld) -> bool:
    return all(each.status == "ACTIVE" for each in world.brokers.values()) and not world.adopters()


def until_recovered(world: KubeWorld, keeper: Keeper, turns: int = 60) -> None:
    for _ in range(turns):
        world.run(keeper, 1)
        if is_recovered(world):
            return
    raise AssertionError((world.status["recoveries"], world.status["blocked"], world.brokers))


def own_taints(world: KubeWorld) -> list[str]:
    nodes = world.api.of("Node")
    taints = [each for node in nodes for each in node["spec"].get("taints") or ()]
    return [each["value"] for each in taints if each["key"] == names.OUT_OF_SERVICE]


class Answers:
    """A provider that says these things one after the other."""

    def __init__(self, *states: MachineState | None) -> None:
        self.left = list(states)

    async def state(self, machine: str, region: str | None, volume: str) -> MachineState:
        state = self.left.pop(0)
        if state is None:
            raise ProviderError("no answer")
        return state

    async def terminate(self, machine: str, region: str | None) -> None:
        raise AssertionError


STOPPED, ALIVE = MachineState.STOPPED, MachineState.ALIVE


@pytest.mark.parametrize(
    ("states", "is_proof"),
    [
        ((STOPPED, STOPPED, STOPPED), True),
        ((ALIVE, ALIVE, STOPPED), False),
        ((STOPPED, ALIVE, STOPPED), False),
        ((STOPPED, None, STOPPED), False),
        ((ALIVE, ALIVE, ALIVE), False),
        ((None, None, None), False),
    ],
)
def test_only_an_answer_that_comes_again_ten_seconds_later_is_proof(
    states: tuple[MachineState | None, ...], is_proof: bool
) -> None:
    async def scenario() -> dict[str, Proof]:
        verdicts, found = Verdicts(Answers(*states)), {}
        for at in (0.0, APART_S / 2, APART_S):
            found = await verdicts.proofs({"n1": ("i-1", "")}, frozenset({"n1"}), None, at)
            assert found == {} or at == APART_S
        return found

    assert (run_virtual(scenario()) == {"n1": Proof.MACHINE_STOPPED}) is is_proof


@pytest.mark.parametrize("taints", [False, True], ids=["attachment deleted", "node tainted"])
def test_a_machine_that_ended_gives_its_brokers_log_to_a_survivor_and_nobody_had_to_say_so(taints: bool) -> None:
    world, keeper = running(release={"taintNode": taints})
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    seen = []
    for _ in range(60):
        world.run(keeper, 1)
        seen += own_taints(world)
    assert is_recovered(world)
    assert set(seen) == ({names.OWN_TAINT} if taints else set())
    assert own_taints(world) == [], "it is taken back"
    assert world.terminated == []
    assert world.harmed == []
    (recovery,) = world.status["recoveries"]
    assert "adopter waits for the volume" in [each["name"] for each in recovery["stages"]]


def test_a_machine_that_lives_is_left_alone_however_silent_its_node_is() -> None:
    world, keeper = running(release={"taintNode": True}, proof=EC2 | {"terminateInstance": True})
    uid = world.pod(1)["metadata"]["uid"]
    world.controllers.freeze_node(node_of(world, 1))
    world.run(keeper, 100)
    assert world.condition("FencingPending")["status"] == "True"
    assert world.pod(1)["metadata"]["uid"] == uid
    assert (own_taints(world), world.terminated, world.harmed, world.adopters()) == ([], [], [], [])


def test_a_provider_that_refuses_to_answer_proves_nothing() -> None:
    world, keeper = running()
    world.is_provider_up = False
    world.controllers.kill_node(node_of(world, 1))
    world.run(keeper, 60)
    assert world.condition("FencingPending")["status"] == "True"
    world.is_provider_up = True
    until_recovered(world, keeper)


def test_where_it_is_asked_for_the_machine_is_ended_before_its_volume_is_taken() -> None:
    world, keeper = running(proof=EC2 | {"terminateInstance": True})
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    until_recovered(world, keeper)
    assert set(world.terminated) == {lost}
    assert world.harmed == []


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_node_object_that_is_gone_is_proof_only_with_the_providers_word_about_its_machine(is_alive: bool) -> None:
    world, keeper = running()
    lost = node_of(world, 1)
    (world.controllers.freeze_node if is_alive else world.controllers.kill_node)(lost)
    world.controllers.delete_node(lost)
    world.run(keeper, 15)
    if is_alive:
        assert world.condition("FencingPending")["status"] == "True"
        assert world.adopters() == []
    else:
        until_recovered(world, keeper)
    assert world.asked
    assert world.harmed == []


def test_without_a_provider_a_node_that_is_gone_is_left_to_kubernetes_and_the_log_is_recovered_all_the_same() -> None:
    world, keeper = running(proof={})
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    world.controllers.delete_node(lost)
    world.run(keeper, 15)
    assert world.brokers[1].status == "FENCED"
    until_recovered(world, keeper, 260)
    assert world.harmed == []


def test_a_node_of_the_same_name_on_another_machine_says_nothing_about_the_first() -> None:
    world, keeper = running()
    lost = node_of(world, 1)
    first = world.controllers.node(lost)["spec"]["providerID"]
    world.controllers.freeze_node(lost)
    world.controllers.node(lost)["spec"]["providerID"] = "aws:///eu-central-1a/i-99"
    world.controllers.dead.add("n99")
    world.run(keeper, 30)
    assert set(world.asked) == {first}
    assert world.condition("FencingPending")["status"] == "True"
    assert world.harmed == []


class KilledError(Exception):
    """The operator's process ended."""


@pytest.mark.parametrize("taints", [False, True], ids=["attachment deleted", "node tainted"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before it was done", "after it was done"])
@pytest.mark.parametrize("survives", range(18))
def test_an_operator_killed_at_any_write_of_a_takeover_is_continued_by_a_fresh_one(
    survives: int, is_done: bool, taints: bool
) -> None:
    world, keeper = running(release={"taintNode": taints}, proof=EC2 | {"terminateInstance": taints})
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    left, watch = [survives], world.api.before_write

    def kill(verb: str, kind: kube.Kind, name: str) -> None:
        assert watch is not None
        if left[0] == 0 and not is_done:
            raise KilledError
        if left[0] < 0:
            raise KilledError
        left[0] -= 1
        watch(verb, kind, name)

    world.api.before_write = kill
    try:
        world.run(keeper, 60)
    except KilledError:
        world.api.before_write = watch
    world.pass_time(5.0)
    keeper = world.operator()
    until_recovered(world, keeper)
    world.run(keeper, 5)
    assert own_taints(world) == []
    assert world.harmed == []
    assert [each["broker"] for each in world.status["recoveries"]] == [1]
