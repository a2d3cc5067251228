"""What the commands that speak Kafka share: their options, the client library, and its errors as one line each."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automq_broker.kernel.errors import Refused

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

TIMEOUT_S = 15.0
DEFAULT_BOOTSTRAP = "localhost:9092"
_JAAS = re.compile(r"""(username|password)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;]+))""")
_QUIET = 0
_FOR_JAVA_ONLY = ("key.deserializer", "value.deserializer", "key.serializer", "value.serializer", "sasl.jaas.config")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to connect, and the client properties to do it with."""

    bootstrap: str
    properties: Mapping[str, str]

    def config(self, **more: Any) -> dict[str, Any]:
        """A client's configuration; `more` names have underscores where properties have dots."""
        own = {name.replace("_", "."): value for name, value in more.items()}
        return {"bootstrap.servers": self.bootstrap, "log_level": _QUIET, **own, **self.properties}

    def admin(self) -> "AdminClient":
        """An admin client that has seen a broker. Raises Refused when none answers."""
        library()
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - an optional extra

        with answers(self):
            client = AdminClient(self.config())
            client.list_topics(timeout=TIMEOUT_S)
        return client


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --bootstrap-server and --command-config; the command gets `cluster` in their place."""

    @click.option(
        "--bootstrap-server",
        metavar="HOST:PORT",
        default=DEFAULT_BOOTSTRAP,
        show_default=True,
        help="Any brokers, separated by commas.",
    )
    @click.option("--command-config", metavar="FILE", type=click.Path(path_type=Path), help="Client properties.")
    @wraps(command)
    def with_cluster(*, bootstrap_server: str, command_config: Path | None, **options: Any) -> Any:
        return command(cluster=Cluster(bootstrap_server, _properties(command_config)), **options)

    return with_cluster


def library() -> Any:
    """The module confluent_kafka; raises Refused with the command that brings it."""
    try:
        import confluent_kafka  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise Refused("this command needs confluent-kafka: pip install 'automq[clients]'") from None
    return confluent_kafka


@contextmanager
def answers(cluster: Cluster) -> Iterator[None]:
    """Turn what the client library raises into a Refused with one clear line."""
    kafka = library()
    try:
        yield
    except kafka.KafkaException as error:
        reason = error.args[0] if error.args else error
        raise Refused(explain(cluster, reason)) from error
    except (ValueError, TypeError) as error:
        raise Refused(f"the client refuses its settings: {error}") from error


def explain(cluster: Cluster, error: Any) -> str:
    """An error of the client library in words."""
    kafka = library()
    code = error.code() if hasattr(error, "code") else None
    if code in (kafka.KafkaError._TRANSPORT, kafka.KafkaError._ALL_BROKERS_DOWN, kafka.KafkaError._TIMED_OUT):
        return f"no broker answers at {cluster.bootstrap} ({error.str()})"
    if code is not None and hasattr(error, "str"):
        return f"{error.str()} ({error.name()})"
    return str(error)


def pairs(texts: tuple[str, ...], what: str) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping; raises a usage error for anything else."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise click.UsageError(f"{what} {text!r} is not KEY=VALUE")
        found[key] = value
    return found


def _properties(path: Path | None) -> dict[str, str]:
    """Client properties as librdkafka takes them; Java's own spellings of SASL and TLS are understood."""
    if path is None:
        return {}
    from automq_broker.settings import from_properties  # noqa: PLC0415 - commands start fast

    given = {each.key: each.value for each in from_properties(path)}
    for name, plain, quoted, bare in _JAAS.findall(given.get("sasl.jaas.config", "")):
        given[f"sasl.{name}"] = plain or quoted or bare
    if given.get("ssl.truststore.type", "").upper() == "PEM" and "ssl.truststore.location" in given:
        given["ssl.ca.location"] = given["ssl.truststore.location"]
    return {
        name: value
        for name, value in given.items()
        if name not in _FOR_JAVA_ONLY and not name.startswith(("ssl.truststore.", "ssl.keystore.type"))
    }


__all__ = ["TIMEOUT_S", "Cluster", "answers", "cluster_options", "explain", "library", "pairs"]
