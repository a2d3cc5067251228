"""kafkajs on Node: the most used JavaScript client, which speaks old versions and its own group protocol."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from clients.tooling import require, run

_SOURCE = Path(__file__).parent / "kafkajs"
_INSTALLED = Path(__file__).resolve().parents[2] / ".cache" / "kafkajs"

pytestmark = pytest.mark.clients


@pytest.fixture(scope="session")
def script() -> Path:
    """The script beside an installed kafkajs; npm runs once, in .cache."""
    npm = require("npm")
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "roundtrip.js"):
        shutil.copy(_SOURCE / name, _INSTALLED / name)
    if not (_INSTALLED / "node_modules" / "kafkajs").is_dir():
        install = [npm, "install", "--prefix", str(_INSTALLED), "--no-audit", "--no-fund", "--no-package-lock"]
        run(install, timeout_s=120)
    return _INSTALLED / "roundtrip.js"


def test_kafkajs_creates_produces_consumes_in_a_group_and_deletes(
    bootstrap: str, fresh: Callable[[str], str], script: Path
) -> None:
    shown = json.loads(run([require("node"), str(script), bootstrap, fresh("kafkajs"), fresh("g")], timeout_s=60))
    assert shown["created"] is True
    by_partition: dict[int, list[list[str]]] = {0: [], 1: [], 2: []}
    for partition, *rest in shown["seen"]:
        by_partition[partition].append(rest)
    for partition, records in by_partition.items():
        numbers = [number for number in range(100) if number % 3 == partition] * 2
        assert records == [[str(o), f"k{n}", f"v{n}", str(n)] for o, n in enumerate(numbers)]
    assert sorted(shown["ends"]) == [[0, "68"], [1, "66"], [2, "66"]]
    assert sorted(shown["committed"]) == [[0, "68"], [1, "66"], [2, "66"]]
    assert shown["state"] == "Empty"
