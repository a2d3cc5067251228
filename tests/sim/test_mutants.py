"""Bugs of the kind that logs like this one have had, put into copies of the broker: the simulator must find each."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 100


@dataclass(frozen=True)
class Edit:
    """`old` must be in the module exactly once."""

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """Edits of the broker's code. The violation that tells of it begins with one of `finds`."""

    edits: tuple[Edit, ...]
    finds: tuple[str, ...]
    brokers: int = 1


MUTANTS = {
    "an ack before the batch is durable": Mutant(
        (
            Edit(
                "engine/append.py",
                "            self._device.write(write.position, write.data, partial(self.written, write))\n",
                "            self._device.write(write.position, write.data, lambda _: None)\n"
                "            self.written(write, None)\n",
            ),
        ),
        ("I1", "I2", "I3", "law 4: the process of node 1 ended by itself: Corrupt: the WAL's record"),
    ),
    "a trim before the commit": Mutant(
        (
            Edit(
                "engine/upload.py",
                "        try:\n            await submit_patiently(\n",
                "        for part in parts:\n"
                "            self._cache.mark_committed(part.partition.stream_id, part.entries[-1].last_offset + 1)\n"
                "        self._on_committed()\n"
                "        try:\n            await submit_patiently(\n",
            ),
        ),
        ("I1", "I2", "I3", "law 4", "read of"),  # I2: the offset of a lost batch is given to another one
    ),
    "producers' state ahead of the data that it is stored with": Mutant(
        (
            Edit(
                "log/checkpoint.py",
                "        window = _below(offset, entry)\n",
                "        window = entry.window\n",
            ),
        ),
        ("I1", "I2", "I3", "I5", "produce of"),
    ),
    "a sweep by age alone": Mutant(
        (
            Edit(
                "engine/sweep.py",
                "is_leased=lambda object_id: any(first <= object_id < end for first, end in leases),",
                "is_leased=lambda object_id: False,",
            ),
        ),
        ("I9",),
    ),
    "a 412 taken as failure": Mutant(
        (
            Edit(
                "engine/control_head.py",
                "            except (PreconditionFailed, BucketUnavailable, BucketDenied) as error:\n",
                "            except (BucketUnavailable, BucketDenied) as error:\n",
            ),
        ),
        ("law 4",),
    ),
    "a high watermark before the batch is durable": Mutant(
        (
            Edit(
                "engine/append.py",
                "        partition.in_flight_appends += 1\n        self._schedule_kick()\n",
                "        partition.in_flight_appends += 1\n"
                "        log.durable_to(Offset(outcome.last_offset + 1))\n"
                "        self._schedule_kick()\n",
            ),
        ),
        ("I1", "I3", "I4", "I7", "read of"),
    ),
    "a partition opened before it was closed": Mutant(
        (
            Edit(
                "meta/streams.py",
                "    if stream.is_open and not is_own:\n        raise",
                "    if False:\n        raise",
            ),
            Edit(
                "engine/open_close.py",
                "return head.owner == self._node_id or (head.owner == NO_NODE and row.owner == self._node_id)",
                "return head.owner == self._node_id or row.owner == self._node_id",
            ),
        ),
        ("5a.5",),
        brokers=3,
    ),
    "a close that does not wait for appends in flight": Mutant(
        (
            Edit(
                "engine/closing.py",
                "            await self._appender.wait_durable()\n            await self._close(upload, going)\n",
                "            await self._close(upload, going)\n",
            ),
            Edit(
                "engine/open_close.py",
                "                final_end=partition.log.end_offset,\n",
                "                final_end=self._metadata.state.stream_head(partition.stream_id).committed_end,\n",
            ),
        ),
        ("I1", "I2", "I3", "I5", "I7", "law 4", "a producer was told", "a callback failed", "produce of"),
        brokers=3,
    ),
    "a start on any volume": Mutant(
        (
            Edit(
                "meta/nodes.py",
                "    if volume == node.volume:\n",
                "    if True:\n        return False\n    if volume == node.volume:\n",
            ),
        ),
        ("5a.4",),
        brokers=3,
    ),
    "commits at any broker epoch": Mutant(
        (
            Edit(
                "meta/nodes.py",
                "    if node.broker_epoch != broker_epoch:\n        raise Fenced(\n"
                '            f"EPOCH_GONE: node {node_id} is at broker epoch {node.broker_epoch}, the command at {broker_epoch}"\n',
                "    if False:\n        raise Fenced(\n"
                '            f"EPOCH_GONE: node {node_id} is at broker epoch {node.broker_epoch}, the command at {broker_epoch}"\n',
            ),
        ),
        ("5a.13",),
        brokers=3,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    copy = tmp_path / "automq_broker"
    shutil.copytree(ROOT / "broker" / "automq_broker", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        source = (copy / edit.module).read_text()
        assert source.count(edit.old) == 1, f"the code in {edit.module} was rewritten: adapt the mutant"
        (copy / edit.module).write_text(source.replace(edit.old, edit.new))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests'}"}
    found = subprocess.run(
        [sys.executable, "-m", "sim.command", "1", str(SEEDS), "0.5", str(mutant.brokers)],
        env=environment, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert found.returncode == 1, f"{SEEDS} seeds found nothing: {found.stdout} {found.stderr}"
    violation = found.stdout.split(": ", 1)[1]
    assert violation.startswith(mutant.finds), found.stdout
