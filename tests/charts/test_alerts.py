"""Alert rules: each fires when it should and only then, speaks of metrics that exist, and has a page that helps."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.metric_names import LABELS, of_target, selectors
from charts.rendering import CLUSTER, OPERATOR, ROOT, objects, one, promtool, run

Object = dict[str, Any]
CASES: dict[str, Object] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
RUNBOOKS = ROOT / "docs" / "runbooks"
SERVED = "https://example.com/runbooks"
JOBS = {CLUSTER: "kafka/orders", OPERATOR: "kafka/automq-automq-operator"}
HEADINGS = ["What you see", "Why", "Check", "Do", "When not to worry"]


def groups(chart: Path) -> list[Object]:
    """As Prometheus' operator gets them."""
    values: Object = {"monitoring": {"prometheusRule": {"enabled": True, "runbookBaseUrl": SERVED}}}
    values |= {"storage": {"s3": {"bucket": "orders-kafka"}}} if chart == CLUSTER else {}
    found: list[Object] = one(objects(chart, values), "PrometheusRule")["spec"]["groups"]
    return found


def rules() -> Iterator[tuple[Path, Object]]:
    for chart in JOBS:
        for group in groups(chart):
            yield from ((chart, rule) for rule in group["rules"])


@pytest.mark.parametrize("chart", JOBS, ids=lambda chart: chart.name)
def test_promtool_takes_the_rules(chart: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups(chart)}))
    assert "SUCCESS" in run(promtool(), "check", "rules", "--lint-fatal", str(file))


@pytest.mark.parametrize("chart", JOBS, ids=lambda chart: chart.name)
def test_each_alert_fires_when_it_should_and_not_a_little_before(chart: Path, tmp_path: Path) -> None:
    file, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"groups": groups(chart)}))
    found = [rule for group in groups(chart) for rule in group["rules"]]
    written = [history(rule, CASES[rule["alert"]][what], JOBS[chart], what) for rule in found for what in HISTORIES]
    tests.write_text(yaml.safe_dump({"rule_files": [str(file)], "evaluation_interval": "30s", "tests": written}))
    assert "SUCCESS" in run(promtool(), "test", "rules", str(tests))


HISTORIES = ("fires", "silent")


def history(rule: Object, case: Object, job: str, what: str) -> Object:
    """A test of promtool's: what the alert must be at that time."""
    name = rule["alert"]
    labels = {"alertname": name, "alertstate": "firing", **rule["labels"], **case.get("with", {})}
    text = ",".join(f'{key}="{value}"' for key, value in labels.items() if key not in ("job",))
    shown = ", ".join(["alertname", "alertstate", *rule["labels"], *case.get("with", {})])
    query = f'max by ({shown}) (ALERTS{{alertname="{name}",alertstate="firing"}})'
    expected = [{"labels": f"{{{text}}}", "value": 1}] if what == "fires" else []
    return {
        "name": f"{name} {what}",
        "interval": "1m",
        "input_series": [{"series": with_job(key, job), "values": each} for key, each in case["series"].items()],
        "promql_expr_test": [{"expr": query, "eval_time": case["at"], "exp_samples": expected}],
    }


def with_job(series: str, job: str) -> str:
    return series[:-1] + f',job="{job}"}}'


def test_every_alert_has_both_histories_and_no_history_is_left_over() -> None:
    assert set(CASES) == {rule["alert"] for _, rule in rules()}


def test_names_are_unique_and_severities_are_those_that_people_route_by() -> None:
    names = [rule["alert"] for _, rule in rules()]
    assert len(names) == len(set(names))
    assert {rule["labels"]["severity"] for _, rule in rules()} == {"critical", "warning", "info"}


def test_rules_select_their_own_job_alone() -> None:
    for chart, rule in rules():
        for metric, labels in selectors(rule["expr"]):
            assert labels.get("job") == JOBS[chart], f"{rule['alert']}: {metric}"


def test_rules_speak_of_metrics_and_labels_that_are_exported() -> None:
    for _, rule in rules():
        for metric, labels in selectors(rule["expr"]):
            known = of_target(metric)
            assert known is not None, f"{rule['alert']}: nothing exports {metric}"
            assert set(labels) <= known | LABELS, f"{rule['alert']}: {metric} has no {set(labels) - known}"


def test_messages_name_only_labels_that_the_alert_carries() -> None:
    for _, rule in rules():
        told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        case = CASES[rule["alert"]]["fires"]
        assert told <= set(case.get("with", {})), rule["alert"]


def test_each_alert_leads_to_its_page_and_each_page_belongs_to_an_alert() -> None:
    for _, rule in rules():
        assert rule["annotations"]["runbook_url"] == f"{SERVED}/{rule['alert']}.md"
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for _, rule in rules()}


def test_pages_say_what_is_seen_why_what_to_check_what_to_do_and_when_not_to_worry() -> None:
    for page in RUNBOOKS.glob("AutoMQ*.md"):
        text = page.read_text()
        assert text.startswith(f"# {page.stem}\n"), page.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS, page.name
        check = text.partition("## Check")[2].partition("## Do")[0]
        assert "    kubectl " in check or "In Prometheus:" in check or "    kafka-" in check, f"{page.name}: no command"


def test_the_pages_name_metrics_that_exist() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for metric in re.findall(r"\bautomq_[a-z_]+", page.read_text()):
            assert of_target(metric) is not None, f"{page.name}: {metric}"


def test_the_list_of_pages_is_that_of_the_alerts() -> None:
    rows = [f"| [{rule['alert']}]({rule['alert']}.md) | {rule['labels']['severity']} |" for _, rule in rules()]
    assert [line for line in (RUNBOOKS / "README.md").read_text().splitlines() if line.startswith("| [")] == rows
