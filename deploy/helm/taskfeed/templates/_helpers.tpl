{{- define "taskfeed.fullname" -}}
{{ default (printf "%s-taskfeed" .Release.Name) .Values.fullnameOverride }}
{{- end }}

{{- define "taskfeed.selectorLabels" -}}
app.kubernetes.io/name: taskfeed
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "taskfeed.labels" -}}
{{ include "taskfeed.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- define "taskfeed.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "taskfeed.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}
