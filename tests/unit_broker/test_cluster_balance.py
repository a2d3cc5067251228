"""The balancer's plans: they help, they end, they keep off what they must, and they say why."""

from collections import Counter
from random import Random

import pytest
from automq_broker.cluster.balance import MOVES_MAX, Aim, Goal, Node, Partition, Rules, plan
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1 << 20
RULES = Rules(
    aims=(
        Aim(goal=Goal.NETWORK_IN, floor=MIB),
        Aim(goal=Goal.NETWORK_OUT, floor=MIB),
        Aim(goal=Goal.LEADERS, slack=1.0),
    )
)
IN_ONLY = Rules(aims=RULES.aims[:1])


def partitions_of(loads, first=0):
    """{node: [MiB/s in, ...]} as partitions."""
    found = []
    for node_id, rates in loads.items():
        for rate in rates:
            number = first + len(found)
            found.append(Partition(number, f"t-{number}", node_id, rate * MIB, 0.0))
    return found


def carried_out(partitions, made):
    targets = {move.partition.stream_id: move.target for move in made.moves}
    return [each._replace(node_id=targets.get(each.stream_id, each.node_id)) for each in partitions]


def loads_of(nodes, partitions, goal):
    amounts = {Goal.NETWORK_IN: "bytes_in", Goal.NETWORK_OUT: "bytes_out"}
    loads = dict.fromkeys([node.node_id for node in nodes if not node.excluded], 0.0)
    for each in partitions:
        if each.node_id in loads:
            loads[each.node_id] += getattr(each, amounts[goal]) if goal in amounts else 1
    return loads


def distance(nodes, partitions, goal):
    """Sum of squares around the average: what every move of a goal makes smaller."""
    loads = loads_of(nodes, partitions, goal)
    average = sum(loads.values()) / len(loads)
    return sum((load - average) ** 2 for load in loads.values())


def kinds(made):
    return {(each.subject, each.kind) for each in made.refusals}


def nodes(*node_ids, **changes):
    return [Node(node_id, **changes) for node_id in node_ids]


@st.composite
def clusters(draw):
    count = draw(st.integers(2, 6))
    rng = Random(draw(st.integers(0, 2**32)))
    found = [Node(node_id, rack=f"r{node_id % 2}") for node_id in range(count)]
    skew = draw(st.sampled_from([0.0, 1.0, 2.0]))
    partitions = [
        Partition(
            number,
            f"t-{number}",
            min(count - 1, int(rng.random() ** (1 + skew) * count)),
            rng.choice([0, rng.randrange(4 * MIB), rng.randrange(40 * MIB)]),
            rng.choice([0, rng.randrange(4 * MIB), rng.randrange(40 * MIB)]),
        )
        for number in range(draw(st.integers(0, 80)))
    ]
    return found, partitions


@given(clusters())
@settings(max_examples=150, deadline=None)
def test_a_plan_brings_the_weightiest_unmet_goal_nearer_and_undoes_none_above_it(cluster):
    members, partitions = cluster
    made = plan(members, partitions, RULES)
    after = carried_out(partitions, made)
    met_before = {each.subject for each in made.refusals if each.kind == "met"}
    met_after = {each.subject for each in plan(members, after, RULES).refusals if each.kind == "met"}
    for aim in RULES.aims:
        if aim.goal in met_before:
            assert aim.goal in met_after
            continue
        before, now = distance(members, partitions, aim.goal), distance(members, after, aim.goal)
        assert now <= before * (1 + 1e-9)
        if any(move.goal is aim.goal for move in made.moves):
            assert now < before
        break  # goals of less weight may have paid for this one


@given(clusters(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_same_load_gets_the_same_plan_in_whatever_order_it_is_told(cluster, rng):
    members, partitions = cluster
    made = plan(members, partitions, RULES)
    rng.shuffle(members)
    rng.shuffle(partitions)
    again = plan(members, partitions, RULES)
    assert [(m.partition.stream_id, m.target, m.reason) for m in made.moves] == [
        (m.partition.stream_id, m.target, m.reason) for m in again.moves
    ]


@given(clusters())
@settings(max_examples=100, deadline=None)
def test_a_load_that_stands_still_is_even_after_a_few_plans_or_as_even_as_it_can_be(cluster):
    members, partitions = cluster
    for _ in range(30):
        made = plan(members, partitions, RULES)
        assert len(made.moves) <= MOVES_MAX
        assert max(Counter(move.partition.stream_id for move in made.moves).values(), default=0) <= 1
        if not made.moves:
            break
        partitions = carried_out(partitions, made)
    assert made.moves == ()
    assert {each.kind for each in made.refusals} <= {"met", "stuck"}


def test_a_fresh_broker_beside_three_loaded_ones_gets_its_share_in_one_plan():
    members = nodes(1, 2, 3, 4)
    partitions = partitions_of({1: [0.5] * 20, 2: [0.5] * 20, 3: [0.5] * 20})
    made = plan(members, partitions, IN_ONLY)
    loads = loads_of(members, carried_out(partitions, made), Goal.NETWORK_IN)
    assert all(abs(load / MIB - 7.5) <= 0.75 for load in loads.values())
    assert len(made.moves) <= 15


def test_an_empty_broker_among_very_many_is_seen_though_nobody_is_over_the_limit():
    members = nodes(*range(30))
    made = plan(members, partitions_of({node_id: [1.0] * 10 for node_id in range(29)}), IN_ONLY)
    assert {move.target for move in made.moves} == {29}


@pytest.mark.parametrize(
    ("loads", "kind"),
    [
        ({1: [5.0, 5.4], 2: [5.0, 4.6]}, "met"),  # 4 % off
        ({1: [0.9], 2: []}, "met"),  # nobody carries a MiB/s
        ({1: [8.0], 2: [1.0]}, "stuck"),  # one partition is the whole trouble
    ],
)
def test_small_differences_and_little_load_are_left_alone(loads, kind):
    made = plan(nodes(1, 2), partitions_of(loads), IN_ONLY)
    assert made.moves == ()
    assert kinds(made) == {(Goal.NETWORK_IN, kind)}


def test_partitions_that_carry_next_to_nothing_are_not_moved_for_it():
    made = plan(nodes(1, 2), partitions_of({1: [8.0] + [0.001] * 30, 2: [1.0]}), IN_ONLY)
    assert made.moves == ()


def test_thousands_of_small_partitions_are_moved_batch_by_batch():
    members, partitions = nodes(1, 2), partitions_of({1: [0.01] * 2000, 2: []})
    rounds = 0
    while (made := plan(members, partitions, IN_ONLY)).moves:
        assert len(made.moves) <= MOVES_MAX
        partitions = carried_out(partitions, made)
        rounds += 1
    loads = loads_of(members, partitions, Goal.NETWORK_IN)
    assert abs(loads[1] - loads[2]) <= 0.1 * sum(loads.values())
    assert rounds <= 20


def test_excluded_brokers_neither_give_nor_get_and_are_told_with_their_reason():
    members = [Node(1), Node(2), Node(3, excluded="it is being drained"), Node(4, excluded="it is listed")]
    partitions = partitions_of({1: [1.0] * 10, 2: [1.0] * 10, 4: [50.0] * 3})
    made = plan(members, partitions, RULES)
    assert made.moves == ()
    assert ("broker 3", "it is being drained") in kinds(made)
    assert ("broker 4", "it is listed") in kinds(made)


def test_one_broker_alone_has_nothing_to_balance():
    made = plan([Node(1), Node(2, excluded="no load heard")], partitions_of({1: [50.0] * 4}), RULES)
    assert made.moves == ()
    assert ("all goals", "too few brokers") in kinds(made)


def test_partitions_that_must_stay_count_as_load_but_do_not_move():
    partitions = [each._replace(stays="its topic is listed") for each in partitions_of({1: [1.0] * 8})]
    made = plan(nodes(1, 2), partitions + partitions_of({1: [1.0] * 4}, first=8), IN_ONLY)
    assert {move.partition.stream_id for move in made.moves} == {8, 9, 10, 11}
    assert ("partitions", "its topic is listed") in kinds(made)


def test_an_idle_cluster_spreads_its_leaders():
    members, partitions = nodes(1, 2, 3), partitions_of({1: [0.0] * 12, 2: [0.0] * 12})
    after = carried_out(partitions, plan(members, partitions, RULES))
    assert list(loads_of(members, after, Goal.LEADERS).values()) == [8, 8, 8]


def test_leaders_are_evened_with_the_quietest_partitions():
    partitions = partitions_of({1: [2.0, 2.0] + [0.0] * 8, 2: [2.0, 2.0]})
    made = plan(nodes(1, 2), partitions, RULES)
    assert made.moves
    assert all(move.partition.bytes_in == 0 for move in made.moves)


def test_among_free_brokers_one_of_the_same_rack_is_chosen():
    members = [Node(1, rack="a"), Node(2, rack="b"), Node(3, rack="a"), Node(4, rack="b")]
    made = plan(members, partitions_of({1: [1.0] * 6, 2: [1.0] * 6}), IN_ONLY)
    assert {(move.partition.node_id, move.target) for move in made.moves} == {(1, 3), (2, 4)}


def test_every_move_says_who_carries_what():
    (move, *_) = plan(nodes(1, 2), partitions_of({1: [2.0, 2.0], 2: []}), IN_ONLY).moves
    assert move.reason == (
        "network-in: broker 1 carries 4.00 MiB/s, broker 2 0.00 MiB/s, the average is 2.00 MiB/s; 2.00 MiB/s of it move"
    )


def test_a_load_that_quivers_at_the_limit_is_moved_once_well_inside_and_then_left_alone():
    rng = Random(7)
    members, partitions = nodes(1, 2, 3), partitions_of({1: [0.1] * 130, 2: [0.1] * 100, 3: [0.1] * 100})
    plans_with_moves = 0
    for _ in range(200):
        weather = {node.node_id: rng.uniform(0.97, 1.03) for node in members}
        seen = [each._replace(bytes_in=each.bytes_in * weather[each.node_id]) for each in partitions]
        made = plan(members, seen, IN_ONLY)
        plans_with_moves += bool(made.moves)
        partitions = carried_out(partitions, made)
    assert plans_with_moves == 1
