"""From a spec to manifests: pure. What was written to the status once (ranges of node ids) is an argument, time is none.

The same arguments give the same bytes, in this version of the operator and in the next: the form of the brokers' pods is
held by a test, since a new one would restart every broker of every cluster.
"""
