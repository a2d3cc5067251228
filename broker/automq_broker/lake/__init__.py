"""What lies in the bucket: object format, keys, plans for upload, compaction, retention, sweep and verify."""
