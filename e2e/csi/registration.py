"""How the driver makes itself known to its node's kubelet, which looks into a folder of sockets."""

from pathlib import Path
from typing import Any

import grpc

from e2e.csi.answers import DRIVER
from e2e.csi.protos import registration, registration_grpc

KUBELET = Path("/var/lib/kubelet")
PLUGIN_SOCKET = KUBELET / "plugins" / DRIVER / "csi.sock"
REGISTRATION_SOCKET = KUBELET / "plugins_registry" / f"{DRIVER}-reg.sock"


class Registration(registration_grpc.RegistrationServicer):  # type: ignore[misc]
    """The kubelet asks what this is, and says what it made of the answer."""

    def GetInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A CSI driver, and where it listens."""
        return registration.PluginInfo(
            type="CSIPlugin", name=DRIVER, endpoint=str(PLUGIN_SOCKET), supported_versions=["1.0.0"]
        )

    def NotifyRegistrationStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Into the log: a driver that was refused has no CSINode entry, and its pods wait."""
        print(f"registered={request.plugin_registered} {request.error}", flush=True)
        return registration.RegistrationStatusResponse()
