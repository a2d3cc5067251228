"""Reassignments, elections and the quorum, as far as a cluster of one broker can be compared."""

from collections.abc import Sequence
from typing import Any

from automq_broker.wire.apis import k43_elect_leaders as elect
from automq_broker.wire.apis import k45_alter_partition_reassignments as alter
from automq_broker.wire.apis import k46_list_partition_reassignments as ongoing
from automq_broker.wire.apis import k55_describe_quorum as quorum
from automq_broker.wire.apis import k64_unregister_broker as unregister
from clients.differential.world import Ask, Steps, World, case

ELECT, ALTER, LIST, QUORUM, UNREGISTER = 43, 45, 46, 55, 64
PREFERRED, UNCLEAN = 0, 1


def _elect(kind: int, *asked: tuple[str, list[int]]) -> elect.ElectLeadersRequest:
    rows = [elect.TopicPartitions(topic=topic, partitions=indexes) for topic, indexes in asked]
    return elect.ElectLeadersRequest(election_type=kind, topic_partitions=rows, timeout_ms=5000)


def _of_seeded(answer: Any) -> Any:
    rows = [row for row in answer.replica_election_results if row.topic == "seeded"]
    return [answer.error_code, *rows]


@case(ELECT)
def nobody_needs_an_election(world: World, version: int) -> Steps:
    for kind in (PREFERRED, UNCLEAN) if version else (PREFERRED,):
        yield _elect(kind, (world.seeded(), [0, 1]))
        yield Ask(message=elect.ElectLeadersRequest(election_type=kind, topic_partitions=None), view=_of_seeded)
        yield _elect(kind)


@case(ELECT)
def elections_of_what_does_not_exist(world: World, version: int) -> Steps:
    yield _elect(PREFERRED, (world.seeded(), [0, 9, -1]))
    yield _elect(PREFERRED, ("nobody-made-this", [0]), (world.seeded(), [1]))
    yield _elect(PREFERRED, ("has space", []))


@case(ELECT, least=1)
def an_unknown_kind_of_election(world: World, version: int) -> Steps:
    yield _elect(9, (world.seeded(), [0]))


def _alter(topic: str, *rows: tuple[int, list[int] | None], **given: Any) -> alter.AlterPartitionReassignmentsRequest:
    partitions = [alter.ReassignablePartition(partition_index=index, replicas=ids) for index, ids in rows]
    topics = [alter.ReassignableTopic(name=topic, partitions=partitions)]
    return alter.AlterPartitionReassignmentsRequest(topics=topics, timeout_ms=5000, **given)


@case(ALTER)
def a_reassignment_to_where_it_is(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)
    yield _alter(topic, (0, [0]), (1, [0]))
    yield Ask(message=_list((topic, [0, 1])), version=0)
    yield _alter(topic)
    yield alter.AlterPartitionReassignmentsRequest(topics=[], timeout_ms=5000)


@case(ALTER)
def impossible_reassignments_are_refused(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)
    yield _alter("nobody-made-this", (0, [0]))
    yield _alter(topic, (2, [0]), (-1, [0]), (0, [0]))
    for replicas in ([], [9], [0, 9], [0, 0], [-1]):
        yield _alter(topic, (0, replicas))
    yield _alter(topic, (0, None))
    yield _alter("nobody-made-this", (0, None))


@case(ALTER, least=1)
def another_number_of_replicas_can_be_forbidden(world: World, version: int) -> Steps:
    topic = world.topic()
    yield _alter(topic, (0, [0]), allow_replication_factor_change=False)
    yield _alter(topic, (0, [9, 0]), allow_replication_factor_change=False)


def _list(*asked: tuple[str, Sequence[int]]) -> ongoing.ListPartitionReassignmentsRequest:
    topics = [ongoing.ListPartitionReassignmentsTopics(name=name, partition_indexes=list(rows)) for name, rows in asked]
    return ongoing.ListPartitionReassignmentsRequest(topics=topics)


@case(LIST)
def nothing_is_being_reassigned(world: World, version: int) -> Steps:
    yield ongoing.ListPartitionReassignmentsRequest(topics=None)
    yield _list((world.seeded(), [0, 1, 9]), ("nobody-made-this", [0]))
    yield _list()


def _quorum(*asked: tuple[str, list[int]]) -> quorum.DescribeQuorumRequest:
    topics = [
        quorum.DescribeQuorumRequestTopicData(
            topic_name=name, partitions=[quorum.DescribeQuorumRequestPartitionData(partition_index=row) for row in rows]
        )
        for name, rows in asked
    ]
    return quorum.DescribeQuorumRequest(topics=topics)


@case(QUORUM)
def a_broker_alone_leads_itself(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        (row,) = answer.topics[0].partitions
        voters = [each.replica_id for each in row.current_voters]
        is_known = [each.log_end_offset > 0 for each in row.current_voters]
        found = [answer.error_code, answer.error_message, row.error_code, row.error_message, row.leader_id]
        return [*found, voters, is_known, row.observers, [each.node_id for each in answer.nodes]]

    yield Ask(message=_quorum(("__cluster_metadata", [0])), view=view)


@case(QUORUM)
def quorums_of_other_partitions_do_not_exist(world: World, version: int) -> Steps:
    yield _quorum(("__cluster_metadata", [1]))
    yield _quorum((world.seeded(), [0]))
    yield _quorum(("__cluster_metadata", [0]), (world.seeded(), [0]))
    yield _quorum(("__cluster_metadata", [0, 0]))
    yield _quorum()


@case(UNREGISTER)
def a_broker_that_is_not_registered_cannot_be_forgotten(world: World, version: int) -> Steps:
    for broker_id in (9, -1, 2**31 - 1):
        yield unregister.UnregisterBrokerRequest(broker_id=broker_id)
