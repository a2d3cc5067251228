"""Kafka's wire format: bytes in, values out, and back. Knows no state, no socket, no meaning of a request.

Comes in: one whole frame (without its length prefix) as a memoryview, or a message object. Goes out: messages whose
`records` and `bytes` fields are views into the frame, or a list of buffers for the socket in which record segments
are passed through unjoined. Invariants: no length is believed before it is checked against what is left of the frame;
malformed input raises WireError and nothing else. Refuses to know: which versions are advertised, what a request means,
whether an offset exists.
"""
