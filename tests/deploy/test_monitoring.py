"""The Prometheus rules and the Grafana dashboard: PromQL that parses, over metrics that the served model has."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from toolkit.deploy.monitoring import DASHBOARD, RULES, text
from toolkit.serving import metrics

RULE_FILE = yaml.safe_load(text(RULES))
RULE_LIST = [rule for group in RULE_FILE["groups"] for rule in group["rules"]]
PANELS = json.loads(text(DASHBOARD))["panels"]
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$model": ".*"}
NAME = re.compile(r"\btrtkit_[a-z_]+")


def expressions() -> Iterator[str]:
    """Of the rules, and of the panels as Grafana fills them in."""
    yield from (rule["expr"] for rule in RULE_LIST)
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield expression


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_expression_is_promql_over_the_models_metrics(expression: str) -> None:
    assert "$" not in expression
    promql_parser.parse(expression)
    recorded = {rule["record"].split(":")[1] for rule in RULE_LIST if "record" in rule}
    names = {re.sub("_(bucket|count|sum)$", "", name) for name in NAME.findall(expression)} - recorded
    served = set(NAME.findall(inspect.getsource(metrics)))
    assert names <= served


def test_recorded_names_that_are_used_are_recorded() -> None:
    used = {name for expression in expressions() for name in re.findall(r"job_model:[a-z0-9_:]+", expression)}
    assert used <= {rule.get("record") for rule in RULE_LIST}


def test_alerts_say_how_urgent_they_are_and_where_the_runbook_goes_on(root: Any) -> None:
    runbook = (root / "docs" / "runbook.md").read_text()
    headings = set(re.findall(r"^#+ (.*)$", runbook, re.MULTILINE))
    for rule in RULE_LIST:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["action"].removeprefix("Runbook: ") in headings


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in PANELS]
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(place["w"] == 12 and place["h"] == 8 for place in places)
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
