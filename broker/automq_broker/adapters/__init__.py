"""The outside world behind the ports: buckets, WAL devices, clocks, workers. Foreign errors end here."""
