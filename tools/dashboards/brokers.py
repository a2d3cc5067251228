"""Clients, connections and consumers of the brokers."""

from typing import Final

from tools.dashboards.parts import BROKER, BROKERS, CLUSTER, SOURCE, Dashboard, Panel, each_broker, quantiles, rate

LAG: Final = (
    'sum by (group) (clamp_min(max by (topic, partition) (automq_partition_end_offset{job="$cluster"})'
    " - on (topic, partition) group_right () max by (group, topic, partition)"
    ' (automq_group_committed_offset{job="$cluster"}), 0))'
)
"""Of all partitions, whoever serves them and whoever coordinates the group."""

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
