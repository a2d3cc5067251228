"""The operator: its turns, what waits, recoveries."""

from typing import Final

from tools.dashboards.parts import SOURCE, Dashboard, Panel, chosen, each_broker, quantiles, rate

CALLING: Final = (
    "Degraded|FencingPending|WALUnavailable|WALRetained|PodsCannotStart|ConfigNotApplied|ScalingLimited|DisruptionBlocked|RolloutHalted"
    "|PermissionsMissing|ReconciliationPaused"
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
