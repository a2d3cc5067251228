"""Where the cloud is, from pods and from the machine alike, and the keys that it takes."""

import os
from typing import Any

import boto3
from botocore.config import Config

from e2e.cluster.layout import CONTROL_PLANE_IP, REGION

EC2 = f"http://{CONTROL_PLANE_IP}:5000"
S3 = f"http://{CONTROL_PLANE_IP}:8333"
ACCESS_KEY = "e2e-key"
SECRET_KEY = "e2e-secret"


def client(service: str, endpoint: str) -> Any:
    """A boto3 client of that endpoint, with the cloud's keys and few retries."""
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    make: Any = boto3.client  # its thousand overloads help nobody here
    return make(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}
        ),
    )
