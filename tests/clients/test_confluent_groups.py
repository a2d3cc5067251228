"""Consumer groups with librdkafka: rebalances of three members, cooperative-sticky, static members, commits."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from clients.confluent import create_topic
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from twins.child_process import wait_until

Fresh = Callable[[str], str]


class Member:
    """One consumer on its own thread; `assigned` is the set of partitions that it holds, `seen` what it read."""

    def __init__(self, bootstrap: str, group: str, topic: str, settings: Mapping[str, object]) -> None:
        self.assigned: set[int] = set()
        self.seen: list[str] = []
        self.revocations: list[set[int]] = []
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 300,
                "fetch.wait.max.ms": 100,
                "topic.metadata.refresh.interval.ms": 1000,
                **settings,
            }
        )
        self._cooperative = settings.get("partition.assignment.strategy") == "cooperative-sticky"
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Stop polling and close: a dynamic member leaves the group, a static one just goes away."""
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _poll(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.seen.append((message.value() or b"").decode())
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._cooperative:
            consumer.incremental_assign(partitions)
            self.assigned |= {partition.partition for partition in partitions}
        else:
            consumer.assign(partitions)
            self.assigned = {partition.partition for partition in partitions}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lost = {partition.partition for partition in partitions}
        self.revocations.append(lost)
        self.assigned -= lost
        if self._cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()


@contextmanager
def _group(bootstrap: str, topic: str, group: str) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def join(**settings: object) -> Member:
        members.append(Member(bootstrap, group, topic, {k.replace("_", "."): v for k, v in settings.items()}))
        return members[-1]

    try:
        yield join
    finally:
        for member in members:
            member.leave()


def _wait_shared(members: list[Member], partitions: int) -> None:
    def is_shared() -> bool:
        held = [partition for member in members for partition in member.assigned]
        return sorted(held) == list(range(partitions)) and all(member.assigned for member in members)

    wait_until(is_shared, 40, f"{partitions} partitions are shared by {len(members)} members")


def test_three_members_share_six_partitions_as_they_come_and_go(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("range"), fresh("g")
    create_topic(bootstrap, topic, partitions=6)
    with _group(bootstrap, topic, group) as join:
        first = join()
        _wait_shared([first], 6)
        second, third = join(), join()
        _wait_shared([first, second, third], 6)
        second.leave()
        _wait_shared([first, third], 6)


def test_every_record_is_seen_once_through_rebalances_with_commits(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("rebalance"), fresh("g")
    create_topic(bootstrap, topic, partitions=6)
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(600):
        producer.produce(topic, value=f"{number}", partition=number % 6)
    assert producer.flush(30) == 0
    with _group(bootstrap, topic, group) as join:
        first, second, third = join(), join(), join()
        members = [first, second, third]
        _wait_shared(members, 6)
        wait_until(lambda: sum(len(member.seen) for member in members) >= 600, 20, "600 records are seen")
    seen = [value for member in members for value in member.seen]
    # A rebalance between a read and its commit may repeat a record (at least once), it never skips one.
    assert set(seen) == {str(number) for number in range(600)}


def test_cooperative_sticky_moves_only_what_must_move(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("cooperative"), fresh("g")
    create_topic(bootstrap, topic, partitions=6)
    sticky = {"partition_assignment_strategy": "cooperative-sticky"}
    with _group(bootstrap, topic, group) as join:
        first = join(**sticky)
        _wait_shared([first], 6)
        second = join(**sticky)
        _wait_shared([first, second], 6)
        third = join(**sticky)
        _wait_shared([first, second, third], 6)
        moved_from_first = [len(lost) for lost in first.revocations if lost]
        assert sum(moved_from_first) == 4, "the first gives up 3 and then 1 of its 6 partitions, never all of them"


def test_a_static_member_returns_to_its_partitions_without_a_rebalance(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("static"), fresh("g")
    create_topic(bootstrap, topic, partitions=4)
    with _group(bootstrap, topic, group) as join:
        stays = join(group_instance_id="stays", session_timeout_ms=20000)
        goes = join(group_instance_id="goes", session_timeout_ms=20000)
        _wait_shared([stays, goes], 4)
        held, rebalances = set(goes.assigned), len(stays.revocations)
        goes.leave()
        back = join(group_instance_id="goes", session_timeout_ms=20000)
        wait_until(lambda: bool(back.assigned), 20, "the static member has partitions again")
        assert back.assigned == held
        time.sleep(1.0)  # three heartbeats: a rebalance would have reached the other member by now
        assert len(stays.revocations) == rebalances


def test_a_second_holder_of_an_instance_id_fences_the_first(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("fenced"), fresh("g")
    create_topic(bootstrap, topic)
    reported: list[KafkaError] = []
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "group.instance.id": "one",
        "heartbeat.interval.ms": 300,
    }
    first, second = Consumer(settings), Consumer(settings)
    first.subscribe([topic])
    wait_until(lambda: first.poll(0.1) is None and bool(first.assignment()), 20, "the first holder has its partition")
    second.subscribe([topic])

    def is_fenced() -> bool:
        second.poll(0.1)
        message = first.poll(0.1)
        if message is not None and (error := message.error()) is not None:
            reported.append(error)
        return bool(reported)

    wait_until(is_fenced, 20, "the first holder is fenced")
    first.close()
    second.close()
    # The code is librdkafka's "fatal error"; the broker's reason is in its text.
    assert reported[0].code() == KafkaError._FATAL
    assert "fenced" in reported[0].str()


def test_committed_offsets_and_their_metadata_are_kept(bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("commit"), fresh("g")
    create_topic(bootstrap, topic, partitions=2)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    wanted = [TopicPartition(topic, 0, 42, metadata="checkpoint é", leader_epoch=0), TopicPartition(topic, 1, 7)]
    consumer.commit(offsets=wanted, asynchronous=False)
    consumer.close()
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    found = reader.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=10)
    reader.close()
    assert [(partition.offset, partition.metadata or None) for partition in found] == [(42, "checkpoint é"), (7, None)]


def test_metadata_of_a_commit_is_limited(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("metadata-limit")
    create_topic(bootstrap, topic)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": fresh("g")})
    with pytest.raises(KafkaException) as caught:
        consumer.commit(offsets=[TopicPartition(topic, 0, 1, metadata="x" * 5000)], asynchronous=False)
    consumer.close()
    assert caught.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
