"""Who gets a new partition: spread, balanced, aware of racks, the same answer every time."""

from collections import Counter
from uuid import UUID

from automq_broker.cluster.placement import Candidate, place
from hypothesis import given
from hypothesis import strategies as st

SEED = UUID(int=7)
NODES = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 50)), min_size=1, max_size=9).map(
    lambda rows: [Candidate(node_id=index, rack=rack, load=load) for index, (rack, load) in enumerate(rows)]
)


def nodes(*racks, load=0):
    return [Candidate(node_id=index, rack=rack, load=load) for index, rack in enumerate(racks)]


@given(NODES, st.integers(0, 60), st.uuids())
def test_the_same_question_has_the_same_answer_in_any_order_of_the_nodes(candidates, count, seed):
    assert place(count, candidates, seed) == place(count, list(reversed(candidates)), seed)


@given(NODES, st.integers(1, 60), st.uuids())
def test_no_rack_and_no_node_of_a_rack_gets_more_than_its_share_of_a_topic(candidates, count, seed):
    owners = Counter(place(count, candidates, seed))
    racks = {}
    for candidate in candidates:
        racks.setdefault(candidate.rack, []).append(owners[candidate.node_id])
    assert all(max(counts) - min(counts) <= 1 for counts in racks.values())
    shares = [sum(counts) / len(counts) for counts in racks.values()]
    assert max(shares) - min(shares) <= 1


def test_three_partitions_go_to_three_racks_even_if_one_rack_is_emptier():
    candidates = [
        *nodes("a", "a", "a", load=0),
        *(Candidate(node_id=9 + n, rack=r, load=50) for n, r in enumerate("bc")),
    ]
    owners = place(5, candidates, SEED)
    assert {9, 10} < set(owners)


def test_a_single_partition_goes_to_the_least_loaded_node():
    candidates = [Candidate(node_id=0, load=3), Candidate(node_id=1, load=1), Candidate(node_id=2, load=2)]
    assert place(1, candidates, SEED) == [1]


def test_a_fresh_node_does_not_get_the_whole_next_topic():
    candidates = [Candidate(node_id=0, load=500), Candidate(node_id=1, load=500), Candidate(node_id=2, load=0)]
    assert Counter(place(9, candidates, SEED)) == {0: 3, 1: 3, 2: 3}


def test_a_growing_topic_goes_on_where_it_is_thin():
    candidates = [Candidate(node_id=0, load=9, of_topic=3), Candidate(node_id=1, load=9, of_topic=1)]
    assert Counter(place(2, candidates, SEED)) == {1: 2}


def test_equal_nodes_are_drawn_by_the_seed():
    firsts = {place(1, nodes("", "", ""), UUID(int=seed))[0] for seed in range(40)}
    assert firsts == {0, 1, 2}
