"""Two real broker processes that join a cluster of the given size: how long they take, and what its metadata cost them."""

import shutil
import tempfile
import time
from pathlib import Path
from uuid import UUID

from automq_broker.kernel.ids import NodeId
from automq_broker.lake.keys import HEAD_KEY, snapshot_key
from automq_broker.meta import head as heads
from automq_broker.meta.head import Head, Holder
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.meta.state import State
from twins.brokers import cluster_processes
from twins.meta_world import CLUSTER_ID

from bench.scale.cluster import FIRST_NODE, MIB, Size, cluster_of

_SEQ = 1
_SETTLE_S = 10.0


def joined(size: Size) -> dict[str, float]:
    """Resident MiB of the broker that is not the controller, above one of an empty cluster, and seconds to serve."""
    empty_mib, empty_s = _join(State(CLUSTER_ID))
    full_mib, full_s = _join(cluster_of(size))
    return {"real_mib": full_mib, "real_above_mib": full_mib - empty_mib, "real_s": full_s, "real_empty_s": empty_s}


def _join(state: State) -> tuple[float, float]:
    directory = Path(tempfile.mkdtemp(prefix="automq-scale-"))
    _store_head(directory / "bucket", state)
    # Nothing moves meanwhile: the recorded brokers do not live, and that is not what is measured.
    first, second = cluster_processes(directory, 2, settings={"autobalancer.controller.enable": "false"})
    try:
        first.start(120)
        ready_s = second.start(120)
        assert second.process is not None
        time.sleep(_SETTLE_S)
        return second.process.rss_bytes() / MIB, ready_s
    finally:
        for broker in (first, second):
            if broker.process is not None:
                broker.process.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _store_head(bucket: Path, state: State) -> None:
    """The bucket as a controller left it that gave its seat up in good order."""
    key = snapshot_key(_SEQ, "bench")
    (bucket / key).parent.mkdir(parents=True)
    (bucket / key).write_bytes(b"".join(encode_snapshot(state)))
    holder = Holder(node_id=NodeId(FIRST_NODE), endpoint="", volume_uuid=UUID(int=1), incarnation=UUID(int=2))
    head = Head(
        cluster_id=CLUSTER_ID, epoch=1, holder=holder, seq=_SEQ, nonce="bench", renew_s=3.0, is_released=True,
        snapshot=key, snapshot_seq=_SEQ,
    )  # fmt: skip
    (bucket / HEAD_KEY).write_bytes(heads.build(head))


__all__ = ["joined"]
