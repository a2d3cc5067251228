"""A load report: bytes since the last one, the busiest partitions by name, all of them in the sums."""

from types import SimpleNamespace

from automq_broker.engine.load_report import STREAMS_MAX, LoadReport
from twins.virtual_time import LoopClock, run_virtual


def report_of(partitions):
    return LoadReport(
        open_partitions=SimpleNamespace(by_stream=partitions),
        clock=LoopClock(),
        wal_capacity_bytes=100,
        wal_free_bytes=lambda: 30,
        connections=lambda: 4,
        is_draining=lambda: True,
        applied_seq=lambda: 9,
    )


def partition(bytes_in=0, bytes_out=0):
    return SimpleNamespace(bytes_in=bytes_in, bytes_out=bytes_out)


def test_bytes_are_those_since_the_last_report():
    async def scenario():
        partitions = {1: partition(), 2: partition(10, 5)}
        report = report_of(partitions)
        assert report.take().streams == {2: (10, 5)}
        partitions[1].bytes_in = 7
        load = report.take()
        assert load.streams == {1: (7, 0)}
        assert (load.bytes_in, load.bytes_out) == (7, 0)
        assert (load.wal_used_bytes, load.connections, load.is_draining, load.applied_seq) == (70, 4, True, 9)

    run_virtual(scenario())


def test_a_partition_that_was_opened_anew_counts_from_its_beginning():
    async def scenario():
        partitions = {1: partition(100, 100)}
        report = report_of(partitions)
        report.take()
        partitions[1] = partition(3, 0)
        assert report.take().streams == {1: (3, 0)}

    run_virtual(scenario())


def test_only_the_busiest_are_named_and_all_are_counted():
    async def scenario():
        load = report_of({stream_id: partition(stream_id) for stream_id in range(1, STREAMS_MAX + 101)}).take()
        assert len(load.streams) == STREAMS_MAX
        assert min(load.streams) == 101
        assert load.bytes_in == sum(range(1, STREAMS_MAX + 101))

    run_virtual(scenario())
