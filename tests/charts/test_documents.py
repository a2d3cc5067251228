"""The pages of docs/: links lead somewhere, and manifests in them are such as the API server takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from automq_operator.spec import AutoMQClusterSpec
from charts.rendering import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KUBERNETES = ROOT / "docs" / "kubernetes.md"
REQUIRED = {"storage": {"s3": {"bucket": "orders-kafka"}}}


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^    .*$|`[^`]*`", "", page.read_text(), flags=re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def blocks(page: Path) -> Iterator[str]:
    """Indented blocks, in YAML's eyes."""
    for found in re.findall(r"(?:^(?: {4}.*)?\n)+", page.read_text(), re.MULTILINE):
        text = "\n".join(line[4:] for line in found.splitlines()).strip("\n")
        yield from (part for part in re.split(r"^.*<<YAML\n|^YAML$", text, flags=re.MULTILINE) if part.strip())


def specs() -> Iterator[dict[str, Any]]:
    """Whole resources of the pages, and parts of a spec as docs/kubernetes.md shows them."""
    for page in (ROOT / "README.md", KUBERNETES):
        for text in blocks(page):
            if "kind: AutoMQCluster" in text and "scaleTargetRef" not in text:
                yield yaml.safe_load(text)["spec"]
    for text in blocks(KUBERNETES):
        if re.match(r"(listeners|autoscaling|failover|brokers):", text):
            yield REQUIRED | yaml.safe_load(text)


@pytest.mark.parametrize("spec", [*specs()], ids="+".join)
def test_manifests_in_the_pages_are_valid(spec: dict[str, Any]) -> None:
    AutoMQClusterSpec.model_validate(spec)


def test_the_pages_show_manifests_at_all() -> None:
    assert len(list(specs())) >= 6
