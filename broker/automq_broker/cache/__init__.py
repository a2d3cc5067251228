"""Hot bytes within budgets: the tail that was just written, and blocks read back from the bucket.

Comes in: entries of durable batches in WAL order, blocks of objects, reads. Goes out: batches to send, where evicted
ones lie in the WAL, how far to read ahead. Holds: a budget in bytes is kept after every call, what is not yet in the
bucket stays findable. Refuses to know: files, buckets, the clock, who waits.
"""
