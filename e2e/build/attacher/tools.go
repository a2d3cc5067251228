//go:build tools

// Package attacher pins the external-attacher, which turns VolumeAttachments into calls of the CSI driver.
package attacher

import _ "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"
