//go:build tools

// Package helm pins Helm.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
