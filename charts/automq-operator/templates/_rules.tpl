{{- /* The rights of the operator's account, each because a line of its code needs it. No wildcard, no exec, no list of Secrets. */ -}}

{{- /* In each namespace that it looks after. Server-side apply needs create and patch. */ -}}
{{- define "automq-operator.namespaceRules" -}}
- apiGroups: [automq.io]
  resources: [automqclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [automq.io]
  resources: [automqclusters/status]
  verbs: [patch]
- apiGroups: [automq.io]  # owner references that block a deletion
  resources: [automqclusters/finalizers]
  verbs: [update]
- apiGroups: [""]  # patch: brokers' pods are held while their cluster ends, only where that right outlasts their namespace
  resources: [pods]
  verbs: [get, list, watch, create, delete{{ if not .Values.watchNamespaces }}, patch{{ end }}]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]  # whether they ask for more or fewer brokers than the resource allows
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [""]  # volumes of the write-ahead logs: they grow, and go when they are known to be empty
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]  # those that it makes for each cluster; certificates are renewed in them
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* What belongs to no namespace. */ -}}
{{- define "automq-operator.clusterRules" -}}
- apiGroups: [""]  # whether a cluster ends because its namespace does
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch{{ if .Values.nodeTaints.enabled }}, patch{{ end }}]
- apiGroups: [""]  # kept when their claims go, unless they are known to be empty
  resources: [persistentvolumes]
  verbs: [list, watch, patch]
- apiGroups: [storage.k8s.io]  # those of dead nodes are taken away
  resources: [volumeattachments]
  verbs: [list, watch, delete]
{{- if .Values.watchNamespaces }}
- apiGroups: [automq.io]  # a namespace that ends loses its Role before the cluster in it may go
  resources: [automqclusters]
  verbs: [get, patch]
{{- end }}
{{- end }}
