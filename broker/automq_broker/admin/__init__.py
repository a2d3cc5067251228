"""The HTTP side door: health, readiness, metrics, status. Small on purpose.

Comes in: callables that know how things are. Goes out: text for probes, Prometheus and people. It decides nothing, and
listens on loopback unless told otherwise, because it has no authentication.
"""
