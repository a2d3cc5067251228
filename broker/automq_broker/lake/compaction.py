"""What to rewrite, so that a stream's data ends in few large objects, at a price that stays bounded.

Two plans. `plan_stream_sets` takes stream-set objects apart: a stream that has gathered 64 MiB in them (and in small
objects of its own between them) gets large objects of its own, the rest moves on together. `plan_merges` joins small
stream objects of one stream that lie side by side. Both take whole live objects as inputs, cover every live range of
them exactly once, and join ranges only where one ends at the offset at which the next begins.

Why the price is bounded (bytes written again per byte produced):
- Stream sets are taken apart when at least half of their bytes go to own objects. The other half is written again for
  it, so each byte that leaves pays for at most one that stays: 2 in all.
- Without that, sets of two hours' age are joined only where the result's ranges are on average 4 times larger than
  those of any input. A range that starts at 64 KiB can do so five times before it reaches 64 MiB; in practice once.
- Half-dead sets are written again; what they free is more than what is written.
- Stream objects are joined only when no input is larger than all others together, so an object at least doubles.

Requests at 1000 partitions and 50 MB/s, per GB (10^9 bytes), 20 s each:
- uploads of 500 MiB, cut at 128 MiB: 7.6 PUTs, 9.5 for rounds that overshoot into a fifth object (as single objects
  with 64 MiB parts: 19.1);
- the head: one PUT at least every 3 s, commits ride along: 6.7; batches of 1000 ranges spill to a delta object: 1.9;
- so 16 to 18 without compaction (27.7 with parts);
- every stream gathers 64 MiB in 22 min: 14.9 PUTs, one each, since 64 MiB and a bit is still a single PUT; together 31
  to 33 (42.6 with parts). Those objects are large, so no merge follows. Joining to 512 MiB costs 18.6 more and is done
  only when the number of live objects presses (`objects_pressing`).
GETs: the outputs of a plan are in stream order, as are the inputs; outputs of 128 MiB together are read at a time, each input
in one request per run of neighbouring streams: about 1500 GETs per GB where each stream's 64 MiB lie in 190 objects.
"""

from automq_broker.lake.compaction_merges import plan_merges
from automq_broker.lake.compaction_plan import (
    CompactionKnobs,
    CompactionPlan,
    PlannedObject,
    PlannedRead,
    PlannedSlice,
    plan_reads,
)
from automq_broker.lake.compaction_sets import plan_stream_sets

__all__ = [
    "CompactionKnobs",
    "CompactionPlan",
    "PlannedObject",
    "PlannedRead",
    "PlannedSlice",
    "plan_merges",
    "plan_reads",
    "plan_stream_sets",
]
