"""Kafka's wire format: bytes in, values out, and back. Knows no state, no socket, no meaning of a request."""
