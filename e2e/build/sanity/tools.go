//go:build tools

// Package sanity pins csi-sanity, the conformance test of CSI drivers.
package sanity

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
