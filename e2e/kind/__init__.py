"""A Kubernetes of containers, by kind, where a Docker engine runs: four nodes in two zones, as the local cluster has.

Its nodes share one machine's disk, so no volume moves from one to another: tests that hurt nodes need the local cluster.
"""
