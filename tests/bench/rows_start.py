"""From exec to serving: fresh, with many partitions, with a full write-ahead log; and from kill -9 to the first ack."""

import shutil
import subprocess
import time

from twins.broker_process import BrokerProcess
from twins.kafka_peer import KafkaPeer

from bench import programs
from bench.lanes import Bench, Server, create_topic
from bench.outcome import Demand, NotMeasured, Row, middle, spread
from bench.rows_memory import create_partitions

_MIB = 1 << 20
# Nothing is uploaded on its own, so that the whole load waits in the log for recovery.
_KEEP_IN_WAL = {
    "s3.wal.capacity": str(2048 * _MIB),
    "s3.wal.upload.threshold": str(1024 * _MIB),
    "s3.wal.upload.interval.ms": "3600000",
}


def starts(bench: Bench) -> list[Row]:
    """The three rows of exec to serving."""
    if bench.subject != "automq":
        raise NotMeasured("starts are ours to show")
    return [_fresh(bench), _many_partitions(bench), _recovery(bench)]


def _fresh(bench: Bench) -> Row:
    samples = []
    for _ in range(bench.rounds + 2):
        server = BrokerProcess(bench.new_directory())
        samples.append(server.start())
        server.stop()
        shutil.rmtree(server.directory)
    return _row("exec to serving, fresh", samples, Demand(must=1.5, is_least=False))


def _many_partitions(bench: Bench) -> Row:
    with bench.another_subject() as server:
        create_partitions(server, 10_000)
        samples = []
        for _ in range(bench.rounds):
            assert isinstance(server, BrokerProcess)
            server.terminate(60)
            samples.append(server.start(60))
    return _row("exec to serving, 10 000 partitions", samples, Demand(must=5, is_least=False))


def _recovery(bench: Bench) -> Row:
    samples = []
    with bench.another_subject(settings=_KEEP_IN_WAL) as server:
        _fill(server, "filled", 490)
        _assert_nothing_uploaded(server)
        for _ in range(bench.rounds):
            assert isinstance(server, BrokerProcess)
            server.kill()
            samples.append(server.start(60))
        _assert_nothing_uploaded(server)
    return _row("exec to serving, 512 MiB of WAL to recover", samples, Demand(must=10, is_least=False))


def _assert_nothing_uploaded(server: Server) -> None:
    """The figure is worth nothing if the log had been emptied into the bucket before the kill."""
    objects = list((server.directory / "data" / "bucket").rglob("data/*/*"))
    stored = sum(file.stat().st_size for file in objects if file.is_file()) / _MIB
    if stored > 32:
        raise NotMeasured(f"{stored:.0f} MiB had been uploaded already; the log was not full")


def _fill(server: Server, topic: str, mebibytes: int) -> None:
    create_topic(server.bootstrap, topic, partitions=4)
    programs.run(
        "rdkafka_load", "produce", server.bootstrap, topic, messages=mebibytes * 1024, size=1000, partitions=4,
        acks="all", linger_ms=5, batch_size=262144,
    )  # fmt: skip


def restart_after_kill(bench: Bench) -> list[Row]:
    """kill -9 under full load with up to 512 MiB un-trimmed; exec to the first new ack; Kafka alike."""
    ours = bench.start_subject(settings=_KEEP_IN_WAL)
    samples: dict[str, list[float]] = {"ours": [], "kafka": []}
    try:
        for lane, server in (("ours", ours), ("kafka", bench.kafka())):
            for turn in range(bench.rounds if lane == "ours" else 1):
                samples[lane].append(_kill_and_restart(server, f"killed-{lane}-{turn}", 480 // bench.rounds))
    finally:
        ours.stop()
        shutil.rmtree(ours.directory, ignore_errors=True)
    row = _row("kill -9 under load, exec to the first new ack", samples["ours"], Demand(must=3, aim=1, is_least=False))
    row.kafka = middle(samples["kafka"])
    row.samples = samples
    return [row]


def _kill_and_restart(server: Server, topic: str, mebibytes: int) -> float:
    create_topic(server.bootstrap, topic, partitions=4)
    load = subprocess.Popen(
        programs.command(
            "rdkafka_load", "produce", server.bootstrap, topic, messages=100_000_000, size=1024, partitions=4,
            rate=60_000, acks="all", linger_ms=5, batch_size=262144,
        ),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(mebibytes * _MIB / 60_000 / 1024)
        assert load.poll() is None, "the load ended before the kill"
        server.kill()
    finally:
        load.kill()
        load.wait()
    return _exec_to_first_ack(server, topic)


def _exec_to_first_ack(server: Server, topic: str) -> float:
    """Start without waiting, and knock with one record until it is acked."""
    host, _, port = server.bootstrap.rpartition(":")
    knock = programs.command("raw_load", host, port, topic, connections=1, depth=1, messages=1, seconds=30)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.monotonic()
    process = server.spawn()
    while subprocess.run(knock, check=False, **quiet).returncode != 0:  # type: ignore[call-overload]
        assert process.is_running, process.log()[-2000:]
        assert time.monotonic() - start < 120, "no ack within 120 s of the restart"
        time.sleep(0.005)
    taken = time.monotonic() - start
    if isinstance(server, KafkaPeer):
        server.wait_ready()
    return taken


def _row(figure: str, samples: list[float], demand: Demand) -> Row:
    value = middle(samples)
    notes = [spread(samples)] if len(samples) > 1 else []
    return Row(figure=figure, unit="s", ours=value, value=value, value_unit=" s", demand=demand, notes=notes)
