"""The places where values come from, each turned into the same shape. Later layers win; see load.py."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automq_broker.contract.config_rows import ConfigSource
from automq_broker.kernel.errors import Refused
from automq_broker.settings.properties import parse_properties

ENVIRONMENT_PREFIX = "AUTOMQ_"
CONFIG_FILE_VARIABLE = "AUTOMQ_CONFIG"

# Kubernetes gives every pod such variables for each Service of its namespace, also for one named "automq".
_SERVICE_LINK = re.compile(r"AUTOMQ_(.*_)?(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One value as somebody wrote it, and where, in words."""

    key: str
    value: str
    origin: str
    source: ConfigSource = ConfigSource.STATIC_BROKER


def from_properties(path: Path) -> list[Given]:
    """The keys of a properties file in file order; raises Refused if it cannot be read."""
    try:
        # Java reads such files as Latin-1; people write UTF-8. ASCII is both.
        source = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError:
        source = path.read_text(encoding="latin-1")
    except OSError as error:
        raise Refused(f"cannot read the configuration file {path}: {error.strerror}") from error
    try:
        return [Given(key=p.key, value=p.value, origin=f"{path}:{p.line}") for p in parse_properties(source)]
    except Refused as error:
        raise Refused(f"{path}: {error}") from error


def from_environment(environment: Mapping[str, str], known: Iterable[str]) -> list[Given]:
    """AUTOMQ_ variables, in the order of their names: upper case, dots as underscores.

    A variable that fits no name of `known` keeps its guessed key, so that the loader can say which name is nearest.
    """
    by_variable = {variable_name(name): name for name in known}
    found = []
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_FILE_VARIABLE:
            continue
        key = by_variable.get(variable)
        if key is None and _SERVICE_LINK.fullmatch(variable):
            continue
        guessed = key or variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", ".")
        found.append(Given(key=guessed, value=environment[variable], origin=f"environment {variable}"))
    return found


def variable_name(key: str) -> str:
    """The environment variable of a setting: node.id is AUTOMQ_NODE_ID, automq.log.level is AUTOMQ_LOG_LEVEL."""
    return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", key.removeprefix("automq.")).upper()


def from_assignments(assignments: Iterable[str], origin: str = "--set") -> list[Given]:
    """key=value words from the command line, in order; raises Refused on a word without '='."""
    found = []
    for word in assignments:
        key, separator, value = word.partition("=")
        if not separator or not key.strip():
            raise Refused(f"{origin} {word!r}: allowed is {origin} key=value, such as {origin} num.partitions=4")
        found.append(Given(key=key.strip(), value=value, origin=f"{origin} {key.strip()}"))
    return found


def from_dynamic(configs: Mapping[str, str], source: ConfigSource) -> list[Given]:
    """Configs that were set at run time and live in the metadata."""
    where = (
        "dynamic config of this broker" if source is ConfigSource.DYNAMIC_BROKER else "dynamic default of all brokers"
    )
    return [Given(key=key, value=configs[key], origin=where, source=source) for key in sorted(configs)]


__all__ = [
    "CONFIG_FILE_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "Given",
    "from_assignments",
    "from_dynamic",
    "from_environment",
    "from_properties",
    "variable_name",
]
