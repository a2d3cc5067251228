{{- define "automq-cluster.name" -}}
{{- $name := default .Release.Name .Values.nameOverride -}}
{{- if or (gt (len $name) 40) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%q cannot be a cluster's name: at most 40 small letters, digits and hyphens, a letter first; set nameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "automq-cluster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: automq-cluster
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: automq
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
