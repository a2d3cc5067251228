"""The write-ahead log as bytes: formats, the ring, group building, the recovery scan. Does no I/O itself."""
