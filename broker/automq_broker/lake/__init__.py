"""What lies in the bucket: object format, keys, plans for upload, compaction, retention, sweep and verify.

In: sizes, ranges and listings as plain values, and bytes that someone else fetched. Out: bytes to store and plans that
someone else carries out. Invariants: a record batch is stored verbatim and never split; a plan never drops, doubles or
reorders a live record and never reaches over a gap; nothing is proposed for deletion that a commit could still
reference. The room refuses to know the bucket, the clock and the metadata state machine: `now_ms` is an argument and
rows of the metadata are read through the structural types of `views.py`.
"""
