"""Who the driver is: CSI's Identity service."""

from typing import Any

import grpc

from e2e.csi.answers import DRIVER
from e2e.csi.protos import csi, csi_grpc


class Identity(csi_grpc.IdentityServicer):  # type: ignore[misc]
    """The same for controller and node."""

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Name and version."""
        return csi.GetPluginInfoResponse(name=DRIVER, vendor_version="1.0")

    def GetPluginCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        """It has a controller, and its volumes live somewhere."""
        kind = csi.PluginCapability.Service
        services = (kind.CONTROLLER_SERVICE, kind.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        capabilities = [csi.PluginCapability(service=kind(type=service)) for service in services]
        return csi.GetPluginCapabilitiesResponse(capabilities=capabilities)

    def Probe(self, request: Any, context: grpc.ServicerContext) -> Any:
        """It is ready as soon as it answers."""
        answer = csi.ProbeResponse()
        answer.ready.value = True
        return answer
