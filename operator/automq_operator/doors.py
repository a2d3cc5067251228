"""kopf, and nothing but its door: it sees that a resource is there or has changed, and wakes its keeper.

An event handler alone: kopf sets no finalizer and no annotation for it. It watches our resource, which the operator may
surely read in its namespaces; everything else is followed by observe.feeds, which also sees resources that kopf does not
tell of.
"""

from typing import Any

import kopf

from automq_operator.platforms.kubernetes.keepers import Keepers
from automq_operator.spec import GROUP, PLURAL, VERSION


def registry(keepers: Keepers) -> kopf.OperatorRegistry:
    """The door of one operator."""
    doors = kopf.OperatorRegistry()

    @kopf.on.login(registry=doors)
    def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=doors)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Else it lists and watches namespaces and definitions, and without those rights it begins after 55 s.
        settings.scanning.disabled = True
        settings.networking.request_timeout = 20
        settings.networking.connect_timeout = 5
        settings.watching.server_timeout = 60

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=doors)
    async def resource(namespace: str | None, name: str | None, type: str | None, **_: Any) -> None:
        if type == "DELETED":
            keepers.changed(str(namespace), str(name))
        else:
            keepers.seen(str(namespace), str(name))

    return doors


__all__ = ["registry"]
