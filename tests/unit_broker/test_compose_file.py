"""compose.yaml against the broker's own settings: what it sets is known, and what it publishes is what is listened on."""

from pathlib import Path

import yaml
from automq_broker.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["broker"]


def test_its_environment_gives_the_host_and_other_containers_a_listener_each() -> None:
    settings = load_settings(environment=SERVICE["environment"])
    assert {(each.name, each.host, each.port) for each in settings.endpoints} == {
        ("INTERNAL", SERVICE["hostname"], 29092),
        ("EXTERNAL", "localhost", 9092),
    }
    assert {each.port for each in settings.listeners} == {29092, 9092}
    assert settings.ignored == []


def test_it_publishes_the_hosts_listener_and_the_admin_page_to_this_machine_alone() -> None:
    settings = load_settings(environment=SERVICE["environment"])
    external = next(each.port for each in settings.listeners if each.name == "EXTERNAL")
    assert set(SERVICE["ports"]) == {f"127.0.0.1:{port}:{port}" for port in (external, settings.admin_address[1])}
    assert f":{settings.admin_address[1]}/readyz" in SERVICE["healthcheck"]["test"][-1]


def test_its_volume_is_where_the_image_keeps_its_data() -> None:
    command = next(line for line in (ROOT / "Dockerfile.broker").read_text().splitlines() if line.startswith("CMD"))
    (volume,) = SERVICE["volumes"]
    assert volume.partition(":")[2] in command
