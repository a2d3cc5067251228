"""What an API server does with an AutoMQCluster before it stores it: defaults, pruning of nothing, schema, CEL rules.

Works on crds/automqclusters.yaml itself with a real CEL evaluator; of Kubernetes' own CEL functions it knows `quantity`.
"""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import cel
import jsonschema
import yaml

CRD = Path(__file__).resolve().parents[2] / "crds" / "automqclusters.yaml"
_SUFFIXES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


@cache
def definition() -> dict[str, Any]:
    """The CustomResourceDefinition as it is shipped."""
    return yaml.safe_load(CRD.read_text(encoding="utf-8"))


@cache
def schema() -> dict[str, Any]:
    """Schema of the one version."""
    return definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def defaulted(value: Any, node: dict[str, Any]) -> Any:
    """The value with the schema's defaults where nothing was given, as the API server fills them in."""
    if isinstance(value, dict) and "properties" in node:
        filled = dict(value)
        for key, each in node["properties"].items():
            if key not in filled and "default" in each:
                filled[key] = copy.deepcopy(each["default"])
            if key in filled:
                filled[key] = defaulted(filled[key], each)
        return filled
    if isinstance(value, list) and "items" in node:
        return [defaulted(each, node["items"]) for each in value]
    return value


def admit(resource: dict[str, Any], old: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The resource as it would be stored, and why it is refused; [] if it is not."""
    stored = defaulted(resource, schema())
    problems = [error.message for error in _validator().iter_errors(stored)]
    return stored, problems or broken_rules(stored, old, schema())


@cache
def _validator() -> jsonschema.Draft202012Validator:
    strict = copy.deepcopy(schema())
    _close(strict["properties"]["spec"])
    return jsonschema.Draft202012Validator(strict)


def _close(node: dict[str, Any]) -> None:
    """Unknown fields are pruned by default; kubectl sends fieldValidation=Strict, which refuses them."""
    if "properties" in node:
        node["additionalProperties"] = False
    for each in (*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])):
        _close(each)


def broken_rules(value: Any, old: Any, node: dict[str, Any]) -> list[str]:
    """Messages of the rules of this node and those below it that the value breaks."""
    broken = [
        rule["message"]
        for rule in node.get("x-kubernetes-validations", ())
        if not ("oldSelf" in rule["rule"] and old is None) and not _holds(rule["rule"], value, old)
    ]
    if isinstance(value, dict):
        for key, each in node.get("properties", {}).items():
            if key in value:
                before = old.get(key) if isinstance(old, dict) else None
                broken += broken_rules(value[key], before, each)
    if isinstance(value, list) and "items" in node:
        for each in value:
            broken += broken_rules(each, None, node["items"])
    return broken


def _holds(rule: str, value: Any, old: Any) -> bool:
    context = cel.Context({"self": value, "oldSelf": old} if "oldSelf" in rule else {"self": value})
    # Kubernetes' quantities as numbers of bytes; the method becomes a function, which is all that differs.
    context.add_function("quantity", _quantity)
    plain = re.sub(r"(quantity\([^()]*\))\.isLessThan\((quantity\([^()]*\))\)", r"(\1 < \2)", rule)
    result = cel.evaluate(plain, context)
    assert isinstance(result, bool), rule
    return result


def _quantity(text: str) -> int:
    match = re.fullmatch(r"(\d+)([A-Za-z]*)", text)
    assert match is not None
    return int(match[1]) * _SUFFIXES[match[2]]
