"""Alert rules and the dashboard: valid, tried out, and of metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus
import yaml

from lunasched.web.metrics import METRICS

TREE = Path(__file__).resolve().parent.parent.parent
RULES = TREE / "packaging/prometheus/lunasched.rules.yml"
RULE_TESTS = TREE / "packaging/prometheus/lunasched.rules.test.yml"
DASHBOARD = TREE / "packaging/grafana/lunasched.json"
NAMES = {f"{metric.name}{suffix}" for metric in METRICS for suffix in metric.suffixes}


def used(text: str) -> set[str]:
    return set(re.findall(r"\blunasched_[a-z_]+", text))


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def expressions(part: Any) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "definition"):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def test_the_rules_are_valid() -> None:
    done = prometheus.promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done
    assert f"{len(rules())} rules found" in done.stdout


def test_the_rules_alert_when_they_should_and_not_otherwise() -> None:
    done = prometheus.promtool("test", "rules", str(RULE_TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tried_out() -> None:
    tried = {
        case["alertname"]: bool(case["exp_alerts"])
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in sorted(test["alert_rule_test"], key=lambda case: bool(case["exp_alerts"]))
    }
    assert tried == {rule["alert"]: True for rule in rules()}


def test_the_rules_use_metrics_that_exist() -> None:
    for rule in rules():
        assert used(rule["expr"]), rule["alert"]
        assert used(rule["expr"]) <= NAMES, rule["alert"]


def test_the_dashboard_uses_metrics_that_exist() -> None:
    text = DASHBOARD.read_text()
    assert used(" ".join(expressions(json.loads(text)))) <= NAMES
    shown = [panel["title"] for panel in json.loads(text)["panels"]]
    assert len(set(shown)) == len(shown) > 10


def test_the_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    queries = [
        query.replace("$__rate_interval", "5m")
        for query in expressions(json.loads(DASHBOARD.read_text()))
        if not query.startswith("label_values(")
    ]
    recorded = [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}))
    done = prometheus.promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
