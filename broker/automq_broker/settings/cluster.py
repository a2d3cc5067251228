"""The broker's place among others: the listener on which they talk, and when one counts as silent."""

from automq_broker.settings.fields import INT_MAX, Group, integer, text


class ClusterSettings(Group):
    """Several brokers on one bucket are one cluster when each has a listener of its own for the others."""

    inter_broker_listener_name: str | None = text(
        "inter.broker.listener.name",
        None,
        meaning="The listener on which brokers of this cluster talk to each other, and nobody else.",
        why="Unset: one broker needs no listener for others. Takes effect with automq.inter.broker.secret.file.",
    )
    inter_broker_secret_file: str | None = text(
        "automq.inter.broker.secret.file",
        None,
        meaning="File with the secret that all brokers of the cluster share, at least 16 bytes; never sent or logged.",
        why="Unset: a lone broker. A file, because a mounted secret stays out of the process's environment.",
    )
    heartbeat_interval_ms: int = integer(
        "broker.heartbeat.interval.ms",
        2000,
        low=100,
        high=INT_MAX,
        unit="ms",
        meaning="How often a broker tells the controller that it lives, and its load.",
        why="Kafka's default.",
    )
    session_timeout_ms: int = integer(
        "broker.session.timeout.ms",
        9000,
        low=1000,
        high=INT_MAX,
        unit="ms",
        meaning="A broker that is silent for longer is fenced until its next heartbeat; so long a controller may be silent.",
        why="Kafka's default; it decides who tries, never who may write.",
    )


__all__ = ["ClusterSettings"]
