{{/* What all objects are called: the same in every release, for documented URLs and commands depend on it. */}}
{{- define "gitops-status-server.name" -}}
{{- .Values.nameOverride | default "gitops-status-server" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gitops-status-server.fullname" -}}
{{- .Values.fullnameOverride | default (include "gitops-status-server.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gitops-status-server.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gitops-status-server.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gitops-status-server.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "gitops-status-server.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The labels of the pod of `helm test`. It is none of the Service's. */}}
{{- define "gitops-status-server.testLabels" -}}
app.kubernetes.io/name: {{ include "gitops-status-server.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gitops-status-server.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "gitops-status-server.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/*
"yes" where the values name the image of the original chart, which served the status by nginx: who kept a copy of its
values is to get a pod that works.
*/}}
{{- define "gitops-status-server.hasOriginalImage" -}}
{{- if regexMatch "(^|/)nginx(-unprivileged)?$" .Values.image.repository }}yes{{ end }}
{{- end }}

{{/* "yes" where they have its tag, beside whatever image. */}}
{{- define "gitops-status-server.hasOriginalTag" -}}
{{- if regexMatch "^1[.][0-9.]+-alpine" (.Values.image.tag | default "") }}yes{{ end }}
{{- end }}

{{- define "gitops-status-server.image" -}}
{{- if include "gitops-status-server.hasOriginalImage" . -}}
gitops-status-server:{{ .Chart.AppVersion }}
{{- else if include "gitops-status-server.hasOriginalTag" . -}}
{{ .Values.image.repository }}:{{ .Chart.AppVersion }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The first status. */}}
{{- define "gitops-status-server.status" -}}
{{- $status := .Values.statusJson | default dict | toPrettyJson -}}
{{- $limit := dig "max-bytes" 65536 (.Values.options | default dict) | int -}}
{{- if gt (add1 (len $status)) $limit -}}
{{- fail (printf "statusJson is %d bytes as JSON; the limit is %d: set options.max-bytes (at most 1048576)" (add1 (len $status)) $limit) -}}
{{- end -}}
{{- $status -}}
{{- end }}

{{/* "yes" where the old pod must have ended before a new one can have the volume. */}}
{{- define "gitops-status-server.volumeIsExclusive" -}}
{{- if and .Values.persistence.enabled (not (has "ReadWriteMany" .Values.persistence.accessModes)) }}yes{{ end }}
{{- end }}

{{/* Seconds for requests in flight at the end of a pod. */}}
{{- define "gitops-status-server.shutdownGrace" -}}
{{- dig "shutdown-grace" 10 (.Values.options | default dict) | int }}
{{- end }}
