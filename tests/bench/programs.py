"""The C load programs: compiled once into .cache/bench, run as children, their JSON read back."""

import json
import subprocess
from pathlib import Path
from typing import Any

_SOURCES = Path(__file__).parent / "loader"
_BUILT = Path(__file__).resolve().parents[2] / ".cache" / "bench"
_LIBRARIES = {"rdkafka_load": ["-lrdkafka"], "raw_load": [], "raw_fetch": [], "far_store": ["-lpthread"]}
HOW_TO_INSTALL = "apt-get install gcc libc6-dev librdkafka-dev"


class LoadFailed(AssertionError):
    """A load program ended badly; the message carries what it printed."""


def build() -> None:
    """Compile what is older than its sources. Raises LoadFailed with the compiler's words and what to install."""
    _BUILT.mkdir(parents=True, exist_ok=True)
    newest_header = (_SOURCES / "measure.h").stat().st_mtime
    for name, libraries in _LIBRARIES.items():
        source, target = _SOURCES / f"{name}.c", _BUILT / name
        if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime, newest_header):
            continue
        command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(target), str(source), *libraries]
        try:
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise LoadFailed(f"no C compiler here; bring it with: {HOW_TO_INSTALL}") from None
        if finished.returncode != 0:
            raise LoadFailed(f"{finished.stderr[-2000:]}\nmissing headers? {HOW_TO_INSTALL}")


def command(program: str, *words: str, **options: Any) -> list[str]:
    """A load program's command line; `linger_ms=5` becomes `linger.ms=5`, None is left out."""
    given = [f"{key.replace('_', '.')}={value}" for key, value in options.items() if value is not None]
    return [str(_BUILT / program), *words, *given]


def run(program: str, *words: str, is_checked: bool = True, timeout_s: float = 400, **options: Any) -> dict[str, Any]:
    """Run a load program to its end and return its JSON. Raises LoadFailed if it ended badly or printed none.

    With `is_checked` False an exit code 1 (records failed, missing or doubled) is left to the caller to judge.
    """
    line = command(program, *words, **options)
    finished = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if finished.returncode > (0 if is_checked else 1) or finished.returncode < 0 or not finished.stdout:
        raise LoadFailed(f"{' '.join(line)}: {finished.returncode}\n{finished.stdout[-1000:]}{finished.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(finished.stdout)
    return found
