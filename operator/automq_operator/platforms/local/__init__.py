"""Brokers as processes on this machine: `automq up`.

The end of a process is proof of its death (it is waited for, or the lock that it held for life is free); a process that
does not answer is only suspected. Brokers outlive a killed `automq up`, and the next one takes them over by their locks.
"""
