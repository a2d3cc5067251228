"""What a cluster costs, by its counters and the prices that the reader gives."""

from tools.dashboards.parts import BROKER, BROKERS, CLUSTER, SOURCE, Dashboard, Panel, rate, ratio, typed


def _calls(kinds: str) -> str:
    return f'sum(rate(automq_bucket_requests_total{{$selector,kind=~"{kinds}"}}[$__rate_interval]))'


_COST = f"({_calls('put|put_if_match|list')} * $put_price + {_calls('get|head')} * $get_price) / 1000"
_DISKS = "sum(automq_wal_capacity_bytes{$selector}) / 1073741824 * $disk_price / 2592000"
_MACHINES = "count(automq_build_info{$selector}) * $machine_price / 3600"
_GB = "(sum(rate(automq_wal_bytes_total{$selector}[$__rate_interval])) / 1e9)"

COST_PAGE = Dashboard(
    "automq-cost",
    "AutoMQ / Cost",
    BROKERS,
    (
        SOURCE,
        CLUSTER,
        BROKER,
        typed("put_price", "$ per 1000 PUT, LIST", "0.005"),
        typed("get_price", "$ per 1000 GET", "0.0004"),
        typed("disk_price", "$ per GiB of disk and month", "0.08"),
        typed("machine_price", "$ per broker and hour", "0.1"),
    ),
    (
        (
            "Dollars per GB written, by what they are paid for (prices above are examples: set yours)",
            (
                Panel("Requests of the bucket", "currencyUSD", ((f"{_COST} / {_GB}", "$/GB"),), "stat"),
                Panel("Disks", "currencyUSD", ((f"{_DISKS} / {_GB}", "$/GB"),), "stat"),
                Panel("Brokers", "currencyUSD", ((f"{_MACHINES} / {_GB}", "$/GB"),), "stat"),
                Panel(
                    "Over time",
                    "currencyUSD",
                    (
                        (f"{_COST} / {_GB}", "requests"),
                        (f"{_DISKS} / {_GB}", "disks"),
                        (f"{_MACHINES} / {_GB}", "brokers"),
                    ),
                ),
                Panel("Dollars a day", "currencyUSD", ((f"86400 * ({_COST} + {_DISKS} + {_MACHINES})", "$/day"),)),
                Panel("GB written a day", "decgbytes", ((f"86400 * {_GB}", "GB/day"),)),
            ),
        ),
        (
            "What is counted",
            (
                Panel("Calls of the bucket", "ops", ((rate("automq_bucket_requests_total", "kind"), "{{kind}}"),)),
                Panel(
                    "Calls per GB written",
                    "none",
                    ((f"{rate('automq_bucket_requests_total', 'kind')} / scalar({_GB})", "{{kind}}"),),
                ),
                Panel(
                    "Bytes stored per byte written",
                    "none",
                    (
                        (
                            ratio(
                                'automq_bucket_bytes_total{$selector,direction="out"}',
                                "automq_wal_bytes_total{$selector}",
                            ),
                            "uploads, compaction and metadata",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
