"""One partition's truth: offsets, leader epochs, idempotent producers, timestamps. Bytes stay outside.

Comes in: batch headers with the present time (an argument: no clock lives here), durable offsets, snapshots.
Goes out: offsets for a batch, Kafka's exact refusals as ClientFault, answers to lookups by time and by epoch.
Holds: start_offset <= high_watermark <= end_offset; one offset is given out once; a batch that a producer sends
twice keeps the offset it got first. Refuses to know: sockets, files, objects, compression, who asks.
"""
