"""Run every generator of the repository: with --check semantics by default, writing with --write.

A generator is a `tools/generate_*.py` that writes committed files, and with `--check` exits 1 and names the ones that
differ. Those that need Kafka's jars are skipped, and listed, on a laptop without Maven; with CI=true they must run.

    python tools/check_generated.py            # what `make lint` runs
    python tools/check_generated.py --write    # what `make docs` runs
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
NEEDS_MAVEN = frozenset({"generate_protocol.py"})


def main() -> int:
    """Command line; exit code 1 if any generator failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the files instead of comparing them")
    is_write = parser.parse_args().write
    failed = [generator.name for generator in sorted(TOOLS.glob("generate_*.py")) if not _run(generator, is_write)]
    if failed:
        print(f"check_generated: failed: {', '.join(failed)}; `make docs` writes the files again", file=sys.stderr)
    return 1 if failed else 0


def _run(generator: Path, is_write: bool) -> bool:
    if generator.name in NEEDS_MAVEN and shutil.which("mvn") is None and os.environ.get("CI") != "true":
        print(f"{generator.name}: skipped, Maven is not installed (apt-get install maven)")
        return True
    command = [sys.executable, str(generator), *([] if is_write else ["--check"])]
    print(f"{generator.name}: {'writing' if is_write else 'comparing'}", flush=True)
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
