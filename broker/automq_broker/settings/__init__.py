"""Settings: what a person may decide, from four places, validated, each with its meaning and where its value came from.

Later wins: defaults < properties file < environment < flags < dynamic configs of all brokers < those of this broker.
Seen by assembly and commands only; assembly cuts a small frozen value for each room.
"""

from automq_broker.settings.listeners import Endpoint, Listener
from automq_broker.settings.model import WHOLE_VOLUME, IgnoredKey, Settings, load_settings
from automq_broker.settings.sources import (
    CONFIG_FILE_VARIABLE,
    ENVIRONMENT_PREFIX,
    Given,
    from_assignments,
    from_environment,
    from_properties,
    variable_name,
)

__all__ = [
    "CONFIG_FILE_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "WHOLE_VOLUME",
    "Endpoint",
    "Given",
    "IgnoredKey",
    "Listener",
    "Settings",
    "from_assignments",
    "from_environment",
    "from_properties",
    "load_settings",
    "variable_name",
]
