"""The programs of the local cluster, built from Go modules: nothing is downloaded ready-made.

One folder and one go.mod per project, since each has its own versions of the libraries that they share.
"""
