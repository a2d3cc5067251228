"""A Kubernetes of one control plane and four nodes in two zones, without Docker and without virtual machines.

A node is a set of namespaces and control groups with a PID 1 of its own: kubelet, containerd and every container die with it.
"""
