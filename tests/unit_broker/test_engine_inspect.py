"""Topics whose batches are looked at or rewritten: what is refused, what is stored, and in which order."""

import asyncio
import random
import uuid
from collections.abc import Sequence

import pytest
from automq_broker.engine.partition import Appended, Partition
from automq_broker.kernel.errors import ClientFault
from automq_broker.log.record_faults import RecordFaults
from automq_broker.meta.commands import CreateTopic, SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import Record
from twins.engine_world import Life, World
from twins.virtual_time import run_virtual

NOW = 1_700_000_000_000
LIMITS = {"limit_bytes": 64 << 20, "limit_ratio": 1000}


async def topic(life: Life, **configs: str) -> Partition:
    await life.start()
    given = {name.replace("_", "."): value for name, value in configs.items()}
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=1, configs=given))
    while ("t", 0) not in life.running.engine.open_partitions.by_name:
        await asyncio.sleep(0.01)
    return life.running.engine.partition("t", 0)


def batch(*values: bytes, key: bytes | None = b"k", **fields: int) -> bytes:
    return records.encode_batch([Record(timestamp=NOW, key=key, value=value) for value in values], **fields)


async def stored(partition: Partition) -> list[tuple[records.BatchHeader, list[Record]]]:
    found = []
    data = memoryview(b"".join(await partition.read(0, 64 << 20))) if partition.log.high_watermark else memoryview(b"")
    for position, header in records.iter_headers(data):
        whole = data[position : position + header.size_bytes]
        assert records.crc_is_valid(whole)
        found.append((header, records.decode_records(whole, **LIMITS)))
    return found


async def outcomes(appends: Sequence["asyncio.Future[Appended]"]) -> list[int]:
    """Offsets, or the negative error codes."""
    answers = await asyncio.gather(*appends, return_exceptions=True)
    return [a.base_offset if isinstance(a, Appended) else -a.code for a in answers]  # type: ignore[union-attr]


def test_a_compacted_topic_refuses_records_without_keys_and_names_them() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, cleanup_policy="compact")
            for codec in (0, 1, 4):
                mixed = records.encode_batch(
                    [Record(timestamp=NOW, key=b"k"), Record(timestamp=NOW), Record(timestamp=NOW)], compression=codec
                )
                with pytest.raises(RecordFaults) as caught:
                    await partition.append(mixed)
                assert caught.value.code == ErrorCode.INVALID_RECORD
                assert [index for index, _ in caught.value.faults] == [1, 2]
            assert (await partition.append(batch(b"v"))).base_offset == 0

    run_virtual(scenario())


def test_batches_go_on_in_the_order_in_which_they_came_whatever_each_look_takes() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, cleanup_policy="compact")
            appends = []
            for number in range(60):
                key = None if number % 7 == 3 else b"k"
                appends.append(partition.append(batch(b"%d" % number, key=key, compression=number % 5)))
            # Keyless ones that are small enough are refused at once, without a place in the queue.
            refused = [number for number in range(60) if number % 7 == 3]
            found = await outcomes(appends)
            assert [number for number, outcome in enumerate(found) if outcome < 0] == refused
            assert [outcome for outcome in found if outcome >= 0] == list(range(60 - len(refused)))
            values = [record.value for _, rows in await stored(partition) for record in rows]
            assert values == [b"%d" % number for number in range(60) if number not in refused]

    run_virtual(scenario())


def test_what_comes_after_a_config_change_stays_behind_what_is_still_looked_at() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, cleanup_policy="compact")
            first = partition.append(batch(b"first", compression=1))
            partition.log.configure(partition.log.settings.__class__())
            second = partition.append(batch(b"second"))
            assert await outcomes([first, second]) == [0, 1]
            assert not life.running.engine.inspector.is_busy(partition)

    run_virtual(scenario())


@pytest.mark.parametrize(("name", "codec"), [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)])
def test_compression_type_decides_what_is_stored_and_nothing_else_changes(name: str, codec: int) -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, compression_type=name)
            for sequence in range(5):
                sent = batch(
                    b"v" * 500, b"w", compression=sequence, producer_id=9, producer_epoch=1, base_sequence=2 * sequence
                )
                await partition.append(sent)
            for number, (header, rows) in enumerate(await stored(partition)):
                assert header.compression == codec
                assert (header.base_offset, header.base_sequence) == (2 * number, 2 * number)
                assert [(row.key, row.value, row.timestamp) for row in rows] == [
                    (b"k", b"v" * 500, NOW), (b"k", b"w", NOW)
                ]  # fmt: skip
            assert len(await stored(partition)) == 5

    run_virtual(scenario())


def test_a_batch_that_grows_above_the_limit_by_recompressing_is_too_large() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, compression_type="uncompressed")
            with pytest.raises(ClientFault) as caught:
                await partition.append(batch(random.Random(1).randbytes(20_000) * 60, compression=4))
            assert caught.value.code == ErrorCode.MESSAGE_TOO_LARGE
            assert await outcomes([partition.append(batch(b"v"))]) == [0]

    run_virtual(scenario())


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_broken_and_bomb_batches_are_refused_and_the_next_one_is_taken(codec: int) -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, cleanup_policy="compact")
            good = batch(b"v" * 100, compression=codec)
            broken = bytearray(good)
            broken[70:] = b"\xff" * (len(broken) - 70)
            records.batches.stamp_crc(broken)
            bomb = batch(bytes(65 << 20), compression=codec)
            assert len(bomb) < 6 << 20
            found = await outcomes([partition.append(data) for data in (bytes(broken), good)])
            assert found == [-ErrorCode.INVALID_RECORD, 0]
            partition.log.configure(partition.log.settings.__class__(is_compacted=True, max_message_bytes=8 << 20))
            assert await outcomes([partition.append(bomb)]) == [-ErrorCode.INVALID_RECORD]

    run_virtual(scenario())


def test_a_batch_that_claims_the_brokers_time_keeps_its_records_own_on_a_create_time_topic() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life)
            assert await outcomes([partition.append(batch(b"v", timestamp_type=1))]) == [0]
            ((header, rows),) = await stored(partition)
            assert not header.is_log_append_time
            assert [row.timestamp for row in rows] == [NOW]

    run_virtual(scenario())


def test_a_topic_deleted_while_its_batches_are_looked_at_answers_them_all() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life, cleanup_policy="compact")
            appends = [partition.append(batch(b"v", compression=1)) for _ in range(5)]
            partition.is_open = False
            assert await outcomes(appends) == [-ErrorCode.NOT_LEADER_OR_FOLLOWER] * 5

    run_virtual(scenario())


def test_a_changed_config_holds_from_the_next_batch_on() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            partition = await topic(life)
            await partition.append(batch(b"v", key=None))
            await life.control.submit(
                SetConfigs(resource_type=ResourceType.TOPIC, resource_name="t", upserts={"cleanup.policy": "compact"})
            )
            await asyncio.sleep(1)
            with pytest.raises(RecordFaults):
                await partition.append(batch(b"v", key=None))

    run_virtual(scenario())
