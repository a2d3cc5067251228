{{- define "automq-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* Objects that belong to no namespace carry the release's, so that releases of one name do not meet. */ -}}
{{- define "automq-operator.clusterName" -}}
{{- printf "%s-%s" (include "automq-operator.fullname" .) .Release.Namespace -}}
{{- end }}

{{- define "automq-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "automq-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "automq-operator.priorityClass" -}}
{{- if .Values.adopterPriorityClass.create -}}
{{- default (printf "%s-adopter" (include "automq-operator.clusterName" .)) .Values.adopterPriorityClass.name -}}
{{- else -}}
{{- .Values.adopterPriorityClass.name -}}
{{- end -}}
{{- end }}

{{- define "automq-operator.selector" -}}
app.kubernetes.io/name: automq-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "automq-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "automq-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: automq
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "automq-operator.image" -}}
{{- $repository := ternary .Values.image.repository (printf "%s/%s" .Values.image.registry .Values.image.repository) (empty .Values.image.registry) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- /* What the operator's container and the check before an uninstall have in common. */ -}}
{{- define "automq-operator.container" -}}
image: {{ include "automq-operator.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{ toYaml .Values.securityContext | nindent 2 }}
env:
  - name: AUTOMQ_OPERATOR_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  - name: AUTOMQ_OPERATOR_IDENTITY
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: AUTOMQ_OPERATOR_WATCH_NAMESPACES
    value: {{ join "," .Values.watchNamespaces | quote }}
  - name: AUTOMQ_OPERATOR_IMAGE_REPOSITORY
    value: {{ ternary .Values.brokerImage.repository (printf "%s/%s" .Values.brokerImage.registry .Values.brokerImage.repository) (empty .Values.brokerImage.registry) | quote }}
  - name: AUTOMQ_OPERATOR_VERSION
    value: {{ default .Chart.AppVersion .Values.brokerImage.tag | quote }}
  - name: AUTOMQ_OPERATOR_ADOPTER_PRIORITY_CLASS
    value: {{ include "automq-operator.priorityClass" . | quote }}
  - name: AUTOMQ_OPERATOR_INTERVAL_SECONDS
    value: {{ .Values.reconcileIntervalSeconds | quote }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Where its pods may run and who they are. */ -}}
{{- define "automq-operator.pod" -}}
serviceAccountName: {{ include "automq-operator.serviceAccount" . }}
securityContext: {{ toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
