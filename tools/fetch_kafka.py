"""Bring Apache Kafka's own jars into .cache/kafka/<version>/libs with Maven, once.

The jars are the peer of every comparison: the real broker that the differential test and the benchmark run against,
the Java clients and command-line tools of the client suites, and the message definitions of the codec generator.

A temporary POM and `mvn dependency:copy-dependencies` do the work, so that versions, checksums and the registry are
Maven's business. The directory is complete or absent: it is filled under another name and renamed at the end.

    python tools/fetch_kafka.py            # prints the directory of the jars
"""

import argparse
import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.3.0"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "kafka"
HOW_TO_INSTALL = "apt-get install maven openjdk-17-jdk-headless"

_POM = """<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class FetchError(RuntimeError):
    """Maven is missing or failed; the message says what to install or what Maven said."""


def jars_directory() -> Path:
    """Where the jars are, or would be; it exists only when it is complete."""
    return CACHE / KAFKA_VERSION / "libs"


def fetch() -> Path:
    """Return the directory of the jars, running Maven if it is not there yet (15 s on a warm registry).

    Safe to call from several processes: one of them fetches, the others wait. Raises FetchError.
    """
    target = jars_directory()
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise FetchError(f"Maven is not installed; bring it with: {HOW_TO_INSTALL}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _run_maven(maven, target)
    return target


def _run_maven(maven: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(_POM.format(kafka=KAFKA_VERSION))
        partial = Path(scratch) / "libs"
        command = [maven, "--batch-mode", "--quiet", "-f", str(pom), "dependency:copy-dependencies"]
        command.append(f"-DoutputDirectory={partial}")
        finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise FetchError(
                f"Maven failed with {finished.returncode}:\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}"
            )
        partial.rename(target)


def main() -> int:
    """Command line: fetch if needed and print the directory."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    try:
        print(fetch())
    except FetchError as problem:
        print(f"fetch_kafka: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
