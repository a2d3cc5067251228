"""The broker: Kafka's protocol in front, a write-ahead log on a disk in the middle, S3 as the truth behind."""
