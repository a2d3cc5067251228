"""The HTTP side door: health, readiness, metrics, status; and the cluster's API /v1. Small on purpose.

Comes in: callables that know how things are, the cluster's metadata, a token. Goes out: text for probes, Prometheus and
people, JSON for operators, commands to the controller. All but /v1 answers without a token, so it listens on loopback
unless told otherwise.
"""
