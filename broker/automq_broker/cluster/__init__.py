"""What makes many brokers one cluster, as pure rules: who is alive, who gets what, who may join.

In: node ids, racks, loads, times as arguments. Out: decisions as values. Nothing here knows the metadata's state, a
clock, a socket or a loop, so the same question always has the same answer.
"""
