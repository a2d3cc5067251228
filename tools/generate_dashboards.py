"""Write the charts' Grafana dashboards from the pages in tools/dashboards; with --check only compare.

A panel is a title, a unit, and queries with their legends. $selector becomes the labels that a dashboard's variables choose.
"""

import json
import sys
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.dashboards.brokers import BROKERS_PAGE  # noqa: E402
from tools.dashboards.cost import COST_PAGE  # noqa: E402
from tools.dashboards.grafana import as_grafana  # noqa: E402
from tools.dashboards.log import LOG_PAGE  # noqa: E402
from tools.dashboards.operator import OPERATOR_PAGE  # noqa: E402

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


if __name__ == "__main__":
    sys.exit(main())
