"""kafka-python's record encoder as an oracle. Its import warns about an API of importlib's that it still uses."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.codec import snappy_encode
    from kafka.record import MemoryRecords
    from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

__all__ = ["DefaultRecordBatch", "DefaultRecordBatchBuilder", "MemoryRecords", "snappy_encode"]
