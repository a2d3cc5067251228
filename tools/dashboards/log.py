"""Write-ahead log, upload, bucket and metadata."""

from tools.dashboards.parts import (
    BROKER,
    BROKERS,
    CLUSTER,
    SOURCE,
    Dashboard,
    Panel,
    each_broker,
    quantiles,
    rate,
    ratio,
)

LOG_PAGE = Dashboard(
    "automq-wal-upload",
    "AutoMQ / WAL and upload",
    BROKERS,
    (SOURCE, CLUSTER, BROKER),
    (
        (
            "Write-ahead log",
            (
                Panel("Durable writes", "s", quantiles("automq_wal_write_seconds")),
                each_broker("Bytes made durable", "Bps", rate("automq_wal_bytes_total", "pod")),
                each_broker(
                    "Batches per write",
                    "none",
                    f"{rate('automq_wal_batches_total', 'pod')} / {rate('automq_wal_write_seconds_count', 'pod')}",
                ),
                each_broker(
                    "Ring in use",
                    "percentunit",
                    "automq_wal_used_bytes{$selector} / automq_wal_capacity_bytes{$selector}",
                ),
                each_broker("On the way to the disk", "bytes", "automq_wal_in_flight_bytes{$selector}"),
                Panel(
                    "Batches that wait for room",
                    "ops",
                    (
                        (rate("automq_backpressure_waited_total", "pod"), "{{pod}} waited"),
                        (rate("automq_backpressure_timed_out_total", "pod"), "{{pod}} timed out"),
                    ),
                ),
            ),
        ),
        (
            "Upload",
            (
                each_broker("Not in the bucket yet", "bytes", "automq_upload_lag_bytes{$selector}"),
                each_broker("Uploaded", "Bps", rate("automq_upload_bytes_total", "pod")),
                each_broker("Time of the last round", "s", "automq_upload_last_round_seconds{$selector}"),
                Panel(
                    "Calls of the bucket",
                    "ops",
                    ((rate("automq_bucket_requests_total", "kind, result"), "{{kind}} {{result}}"),),
                ),
                Panel(
                    "Calls of the bucket, p99",
                    "s",
                    (
                        (
                            f"histogram_quantile(0.99, {rate('automq_bucket_request_duration_seconds_bucket', 'le, kind')})",
                            "{{kind}}",
                        ),
                    ),
                ),
                Panel(
                    "Bytes from and to the bucket",
                    "Bps",
                    ((rate("automq_bucket_bytes_total", "direction"), "{{direction}}"),),
                ),
            ),
        ),
        (
            "Reading",
            (
                Panel(
                    "Read by consumers, from where", "Bps", ((rate("automq_read_bytes_total", "source"), "{{source}}"),)
                ),
                Panel(
                    "Block cache, share of hits",
                    "percentunit",
                    (
                        (
                            "sum(rate(automq_cache_hits_total{$selector}[$__rate_interval])) / "
                            "(sum(rate(automq_cache_hits_total{$selector}[$__rate_interval])) + "
                            "sum(rate(automq_cache_misses_total{$selector}[$__rate_interval])))",
                            "hits",
                        ),
                    ),
                ),
                Panel(
                    "Caches in use",
                    "percentunit",
                    (
                        (
                            "sum by (cache) (automq_cache_used_bytes{$selector}) / "
                            "sum by (cache) (automq_cache_limit_bytes{$selector})",
                            "{{cache}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Metadata",
            (
                Panel(
                    "Commits and commands",
                    "ops",
                    (
                        (rate("automq_controller_commits_total", "job"), "commits"),
                        (rate("automq_controller_commands_total", "job"), "commands"),
                    ),
                ),
                Panel(
                    "Time of a commit, mean",
                    "s",
                    (
                        (
                            ratio(
                                "automq_controller_commit_seconds_sum{$selector}",
                                "automq_controller_commit_seconds_count{$selector}",
                            ),
                            "commit",
                        ),
                    ),
                ),
                Panel(
                    "Streams and objects",
                    "none",
                    (
                        ('max(automq_metadata_streams{job="$cluster"})', "streams"),
                        ('max(automq_metadata_objects{job="$cluster"})', "objects"),
                    ),
                ),
            ),
        ),
    ),
)
