"""Write the charts' Grafana dashboards from the rows below; with --check only compare.

A panel is a title, a unit, and queries with their legends. $selector becomes the labels that a dashboard's variables choose.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
BROKERS: Final = 'job="$cluster",pod=~"$broker"'
CALLING: Final = (
    "Degraded|FencingPending|WALUnavailable|WALRetained|PodsCannotStart|ScalingLimited|DisruptionBlocked|RolloutHalted"
    "|PermissionsMissing|ReconciliationPaused"
)
LAG: Final = (
    'sum by (group) (clamp_min(max by (topic, partition) (automq_partition_end_offset{job="$cluster"})'
    " - on (topic, partition) group_right () max by (group, topic, partition)"
    ' (automq_group_committed_offset{job="$cluster"}), 0))'
)
"""Of all partitions, whoever serves them and whoever coordinates the group."""
WIDTH, HEIGHT = 8, 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. `queries` are (expression, legend); `kind` is Grafana's name of the form."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels by their headings, and what may be chosen above them."""

    uid: str
    title: str
    selector: str
    variables: tuple[dict[str, Any], ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def chosen(name: str, label: str, query: str, *, is_many: bool = False) -> dict[str, Any]:
    """A variable whose values Prometheus knows."""
    found = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }
    return found | ({"multi": True, "includeAll": True, "allValue": ".*"} if is_many else {})


def typed(name: str, label: str, value: str) -> dict[str, Any]:
    """A number that the reader may change: prices differ by region and contract."""
    current = {"text": value, "value": value}
    return {"type": "textbox", "name": name, "label": label, "query": value, "current": current, "options": [current]}


SOURCE: Final = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
CLUSTER: Final = chosen("cluster", "Cluster", "label_values(automq_build_info, job)")
BROKER: Final = chosen("broker", "Broker", 'label_values(automq_build_info{job="$cluster"}, pod)', is_many=True)


def each_broker(title: str, unit: str, expression: str, description: str = "") -> Panel:
    """One line per broker."""
    return Panel(title, unit, ((expression, "{{pod}}"),), description=description)


def rate(metric: str, by: str, more: str = "") -> str:
    """Per second, over what Grafana's zoom makes sensible."""
    return f"sum by ({by}) (rate({metric}{{$selector{more}}}[$__rate_interval]))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Half of all, and all but one in a hundred."""
    return tuple(
        (f"histogram_quantile({each}, {rate(f'{metric}_bucket', 'le')})", f"p{each * 100:g}") for each in (0.5, 0.99)
    )


def ratio(above: str, below: str) -> str:
    """How much of one counter comes with each of another."""
    return f"sum(rate({above}[$__rate_interval])) / sum(rate({below}[$__rate_interval]))"


BROKERS_PAGE = Dashboard(
    "automq-brokers",
    "AutoMQ / Brokers",
    BROKERS,
    (SOURCE, CLUSTER, BROKER),
    (
        (
            "Are they well?",
            (
                Panel("Brokers that serve", "none", (("sum(automq_ready{$selector})", "ready"),), "stat"),
                Panel(
                    "Brokers by status", "none", (('max by (status) (automq_brokers{job="$cluster"})', "{{status}}"),)
                ),
                Panel(
                    "Partitions and topics",
                    "none",
                    (
                        ("sum(automq_partitions_open{$selector})", "partitions served"),
                        ('max(automq_topics{job="$cluster"})', "topics"),
                    ),
                ),
                each_broker("Controller", "none", "automq_controller_active{$selector} == 1"),
                each_broker("Bucket in trouble", "none", "automq_bucket_trouble{$selector}"),
                each_broker(
                    "Back-pressure", "none", "automq_backpressure_state{$selector}", "0 free, 1 slowed, 2 full"
                ),
            ),
        ),
        (
            "Traffic",
            (
                each_broker("Network in", "Bps", rate("automq_network_bytes_total", "pod", ',direction="in"')),
                each_broker("Network out", "Bps", rate("automq_network_bytes_total", "pod", ',direction="out"')),
                Panel("Requests", "reqps", ((rate("automq_requests_total", "api"), "{{api}}"),)),
                Panel(
                    "Produce, time to answer",
                    "s",
                    tuple(
                        (
                            f"histogram_quantile({each}, "
                            + rate("automq_request_duration_seconds_bucket", "le", ',api="Produce"')
                            + ")",
                            f"p{each * 100:g}",
                        )
                        for each in (0.5, 0.99)
                    ),
                ),
                Panel("Event loop, delay", "s", quantiles("automq_loop_delay_seconds")),
                each_broker(
                    "Memory of requests in flight",
                    "percentunit",
                    "automq_in_flight_bytes{$selector} / automq_in_flight_limit_bytes{$selector}",
                ),
                Panel("Connections", "none", (("sum by (listener) (automq_connections{$selector})", "{{listener}}"),)),
                Panel(
                    "Connections turned away",
                    "cps",
                    ((rate("automq_connections_refused_total", "listener, reason"), "{{listener}}: {{reason}}"),),
                ),
                Panel(
                    "Requests that ended a connection",
                    "reqps",
                    ((rate("automq_request_errors_total", "api, reason"), "{{api}}: {{reason}}"),),
                ),
            ),
        ),
        (
            "Consumers and balance",
            (
                Panel("Lag by group", "none", ((LAG, "{{group}}"),)),
                Panel("Groups", "none", (("sum by (state) (automq_groups{$selector})", "{{state}}"),)),
                Panel("Moves by the balancer", "ops", ((rate("automq_balancer_moves_total", "goal"), "{{goal}}"),)),
                each_broker("Partitions given up", "ops", rate("automq_moves_closed_total", "pod")),
                each_broker("Moves that wait", "none", "automq_moves_waiting{$selector}"),
                each_broker(
                    "Commits behind the newest",
                    "none",
                    'scalar(max(automq_metadata_seq{job="$cluster"})) - automq_metadata_seq{$selector}',
                ),
            ),
        ),
    ),
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

OPERATOR_PAGE = Dashboard(
    "automq-operator",
    "AutoMQ / Operator",
    'job="$operator"',
    (SOURCE, chosen("operator", "Operator", "label_values(automq_operator_leader, job)")),
    (
        (
            "Is it well?",
            (
                Panel(
                    "Operators that work",
                    "none",
                    (("sum(automq_operator_leader{$selector})", "holders of the Lease"),),
                    "stat",
                ),
                Panel("Clusters", "none", (("sum(automq_operator_clusters{$selector})", "clusters"),), "stat"),
                Panel(
                    "Recoveries under way",
                    "none",
                    (("max by (resource) (automq_operator_recoveries{$selector})", "{{resource}}"),),
                ),
                Panel(
                    "Conditions that call for somebody",
                    "none",
                    (
                        (
                            f'max by (resource, type) (automq_operator_condition{{$selector,type=~"{CALLING}"}}) == 1',
                            "{{resource}} {{type}}",
                        ),
                    ),
                ),
                Panel(
                    "Clusters that wait for a turn",
                    "none",
                    (("sum(automq_operator_queue{$selector})", "clusters"),),
                ),
                Panel("Turns", "ops", ((rate("automq_operator_reconciles_total", "result"), "{{result}}"),)),
                Panel("Time of a turn", "s", quantiles("automq_operator_reconcile_seconds")),
                each_broker("Memory", "bytes", "process_resident_memory_bytes{$selector}"),
                each_broker("CPU", "percentunit", rate("process_cpu_seconds_total", "pod")),
            ),
        ),
        (
            "What it does",
            (
                Panel(
                    "Steps", "ops", ((rate("automq_operator_actions_total", "kind, result"), "{{kind}} {{result}}"),)
                ),
                Panel(
                    "What waits, by what holds it up",
                    "none",
                    (("sum by (resource, gate) (automq_operator_waiting{$selector})", "{{resource}} {{gate}}"),),
                ),
                Panel(
                    "Stages that recoveries entered",
                    "none",
                    (
                        (
                            "sum by (stage) (increase(automq_operator_recovery_stages_total{$selector}[$__range]))",
                            "{{stage}}",
                        ),
                    ),
                ),
                Panel(
                    "Scale decisions",
                    "none",
                    (("sum(increase(automq_operator_scale_decisions_total{$selector}[$__range]))", "decisions"),),
                ),
                Panel(
                    "Events that the API server did not take",
                    "ops",
                    ((rate("automq_operator_events_lost_total", "pod"), "{{pod}}"),),
                ),
            ),
        ),
    ),
)

PAGES: Final = {
    "automq-cluster/files/dashboards/brokers.json": BROKERS_PAGE,
    "automq-cluster/files/dashboards/wal-and-upload.json": LOG_PAGE,
    "automq-cluster/files/dashboards/cost.json": COST_PAGE,
    "automq-operator/files/dashboards/operator.json": OPERATOR_PAGE,
}


def main() -> int:
    """Exit code 1 if a file differs under --check."""
    is_check, code = "--check" in sys.argv[1:], 0
    for name, page in PAGES.items():
        path, text = ROOT / "charts" / name, json.dumps(as_grafana(page), indent=1) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if is_check:
            print(
                f"charts/{name} is not what tools/generate_dashboards.py says; `make docs` writes it", file=sys.stderr
            )
            code = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote charts/{name}")
    return code


def as_grafana(page: Dashboard) -> dict[str, Any]:
    """As Grafana 10 and newer import it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in page.rows:
        panels.append(
            _placed({"type": "row", "title": heading, "collapsed": False, "panels": []}, len(panels), 0, top, 24, 1)
        )
        top += 1
        for position, panel in enumerate(row):
            left = position * WIDTH % 24
            below = top + position * WIDTH // 24 * HEIGHT
            panels.append(_placed(_panel(panel, page.selector), len(panels), left, below, WIDTH, HEIGHT))
        top += -(-len(row) * WIDTH // 24) * HEIGHT
    return {
        "uid": page.uid,
        "title": page.title,
        "tags": ["automq", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(page.variables)},
        "panels": panels,
    }


def _placed(panel: dict[str, Any], count: int, left: int, top: int, width: int, height: int) -> dict[str, Any]:
    return {"id": count + 1, **panel, "gridPos": {"x": left, "y": top, "w": width, "h": height}}


def _panel(panel: Panel, selector: str) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expression.replace("$selector", selector),
                "legendFormat": legend,
            }
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
