{{/* What cores and gateways have in common: each takes the root and the name of its user. */}}

{{- define "taskfeed.engineEnv" -}}
- name: TASKFEED_ENGINE_URL
  value: {{ required "engine.url: name the NATS servers that cores and gateways share" .root.Values.engine.url | quote }}
- name: TASKFEED_ENGINE_PREFIX
  value: {{ .root.Values.engine.prefix | quote }}
{{- if .root.Values.engine.secretName }}
- name: TASKFEED_ENGINE_USER
  value: {{ .user | quote }}
- name: TASKFEED_ENGINE_PASSWORD_FILE
  value: /run/secrets/taskfeed/engine-password
{{- end }}
{{- if .root.Values.engine.caSecretName }}
- name: TASKFEED_ENGINE_CA_FILE
  value: /run/secrets/taskfeed/engine-ca
{{- end }}
{{- end }}

{{- define "taskfeed.engineFiles" -}}
{{- if .root.Values.engine.secretName }}
- secret:
    name: {{ .root.Values.engine.secretName }}
    items:
      - key: {{ .key }}
        path: engine-password
{{- end }}
{{- if .root.Values.engine.caSecretName }}
- secret:
    name: {{ .root.Values.engine.caSecretName }}
    items:
      - key: {{ .root.Values.engine.caKey }}
        path: engine-ca
{{- end }}
{{- end }}

{{- define "taskfeed.gatewayName" -}}
{{ include "taskfeed.fullname" . }}-gateway
{{- end }}

{{- define "taskfeed.gatewaySelectorLabels" -}}
app.kubernetes.io/name: taskfeed-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "taskfeed.gatewayLabels" -}}
{{ include "taskfeed.gatewaySelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
