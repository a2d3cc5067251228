"""Who this process is, where it keeps things on a laptop, and how it talks to the person who runs it."""

from typing import Literal

from automq_broker.settings.fields import INT_MAX, Group, Update, boolean, integer, names, secret, text

LogLevel = Literal["debug", "info", "warning", "error"]


class NodeSettings(Group):
    """Identity, data directory, logging, the admin page."""

    node_id: int = integer(
        "node.id",
        1,
        low=0,
        synonyms=("broker.id",),
        meaning="The id of this broker. It is tied to its write-ahead log for life.",
        why="1, so that a laptop needs no configuration; give each broker of a cluster its own.",
    )
    broker_rack: str | None = text(
        "broker.rack",
        None,
        meaning="The zone this broker runs in; clients with client.rack prefer brokers of their own zone.",
        why="Unset: no zone is told to anybody.",
    )
    data_dir: str = text(
        "automq.data.dir",
        "data",
        meaning="Directory for the bucket and the write-ahead log where no URI of their own is given.",
        why="./data, so that one command starts a broker whose data lie where the user stands.",
    )
    admin_listener: str = text(
        "admin.listener",
        "127.0.0.1:9644",
        meaning="host:port of the admin page: /healthz, /readyz, /metrics, /status, and the cluster's /v1.",
        why="Loopback only: all but /v1 answers without a token; empty switches it off.",
    )
    admin_security_protocol: Literal["PLAINTEXT", "SSL"] = text(
        "admin.listener.security.protocol",
        "PLAINTEXT",
        choices=("PLAINTEXT", "SSL"),
        meaning="SSL serves the admin page over TLS, with the files of `listener.name.admin.ssl.*` or `ssl.*`.",
        why="PLAINTEXT: the page is on loopback; a token that crosses a network needs SSL.",
    )
    admin_token_file: str | None = text(
        "automq.admin.token.file",
        None,
        meaning="File with the bearer token of the admin API /v1, read at each question so that it can be replaced.",
        why="Unset: /v1 can be read by whoever reaches the page, and nothing can be changed through it.",
    )
    cordoned_log_dirs: tuple[str, ...] = names(
        "cordoned.log.dirs",
        (),
        update=Update.PER_BROKER,
        meaning="Anything but empty, usually *: this broker gets no new partitions (set by `automq cluster drain`).",
        why="Empty: every broker takes its share.",
    )
    log_level: LogLevel = text(
        "automq.log.level",
        "info",
        choices=("debug", "info", "warning", "error"),
        update=Update.PER_BROKER,
        meaning="Least severity of the events that are logged.",
        why="info: starts, stops, failures and every automatic decision.",
    )
    log_format: Literal["text", "json"] = text(
        "automq.log.format",
        "text",
        choices=("text", "json"),
        meaning="One line per event, as key=value text for people or as JSON for machines.",
        why="text, for a terminal; images set json.",
    )
    slow_request_ms: int = integer(
        "automq.slow.request.ms",
        1000,
        low=0,
        high=INT_MAX,
        unit="ms",
        meaning="Requests that take longer are logged, except those that wait by design (Fetch, JoinGroup, SyncGroup).",
        why="1000: far above a durable write on any cloud disk; 0 switches the log off.",
    )


class TlsSettings(Group):
    """TLS of the SSL listeners, by PEM files; `listener.name.<name>.` before a key overrides it for one listener."""

    keystore_type: Literal["PEM"] = text(
        "ssl.keystore.type",
        "PEM",
        choices=("PEM",),
        meaning="Format of the key and its certificates.",
        why="PEM, which every issuer writes; Java's own store formats are not read.",
    )
    keystore_location: str | None = text(
        "ssl.keystore.location",
        None,
        meaning="PEM file with the private key and the certificate chain; watched, new handshakes use a changed file.",
        why="Unset: needed only where a listener is SSL.",
    )
    keystore_key: str | None = secret(
        "ssl.keystore.key",
        meaning="The private key itself as PEM, in place of ssl.keystore.location.",
        why="Unset: a mounted file can change without a restart.",
    )
    keystore_certificate_chain: str | None = secret(
        "ssl.keystore.certificate.chain",
        meaning="The certificate chain itself as PEM, in place of ssl.keystore.location.",
        why="Unset: a mounted file can change without a restart.",
    )
    key_password: str | None = secret(
        "ssl.key.password", meaning="Password of an encrypted private key.", why="Unset: the key is not encrypted."
    )
    truststore_type: Literal["PEM"] = text(
        "ssl.truststore.type",
        "PEM",
        choices=("PEM",),
        meaning="Format of the trusted certificates.",
        why="PEM; Java's own store formats are not read.",
    )
    truststore_location: str | None = text(
        "ssl.truststore.location",
        None,
        meaning="PEM file with the authorities that client certificates must come from; watched like the key.",
        why="Unset: needed only with ssl.client.auth.",
    )
    truststore_certificates: str | None = secret(
        "ssl.truststore.certificates",
        meaning="The trusted certificates themselves as PEM, in place of ssl.truststore.location.",
        why="Unset: a mounted file can change without a restart.",
    )
    client_auth: Literal["required", "requested", "none"] = text(
        "ssl.client.auth",
        "none",
        choices=("required", "requested", "none"),
        meaning="Whether clients must, may or do not show a certificate; its name becomes their principal.",
        why="none: TLS alone keeps the wire private.",
    )
    enabled_protocols: tuple[str, ...] = names(
        "ssl.enabled.protocols",
        ("TLSv1.2", "TLSv1.3"),
        choices=("TLSv1.2", "TLSv1.3"),
        meaning="TLS versions that handshakes may use.",
        why="Older ones are broken.",
    )
    cipher_suites: tuple[str, ...] = names(
        "ssl.cipher.suites",
        (),
        meaning="OpenSSL names of the TLS 1.2 cipher suites; TLS 1.3 has its own fixed ones.",
        why="Empty: OpenSSL's defaults.",
    )
    principal_mapping_rules: str = text(
        "ssl.principal.mapping.rules",
        "DEFAULT",
        meaning="Rules RULE:pattern/replacement/[LU], with commas between, from a certificate's name to a principal.",
        why="DEFAULT: the whole distinguished name.",
    )


class RecoverySettings(Group):
    """Decisions that only a person may take."""

    accept_wal_loss: bool = boolean(
        "automq.accept.wal.loss",
        False,
        meaning="Start although the write-ahead log on record is gone; it is said what is lost with it.",
        why="false: a lost disk must never pass unnoticed.",
    )


__all__ = ["LogLevel", "NodeSettings", "RecoverySettings", "TlsSettings"]
