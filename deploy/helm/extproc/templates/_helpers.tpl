{{- /* What several objects have in common. `egress.extproc.dev/gateway: egress` is on the gateway's pods, whoever makes them. */ -}}

{{- define "extproc.labels" -}}
app.kubernetes.io/name: egress-gateway
app.kubernetes.io/part-of: extproc
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "extproc.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "extproc.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "extproc.securityContext" -}}
runAsUser: 65532
{{- if ne .Values.platform "sidecar" }}
runAsGroup: 65532
{{- end }}
{{- if eq .Values.platform "envoy-gateway" }}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{ include "extproc.hardened" . }}
{{- end }}

{{- define "extproc.initContainers" -}}
- name: socket-folder
  image: {{ include "extproc.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/usr/bin/python3, -c, "import os; os.makedirs('/run/egress/extproc', 0o750, exist_ok=True)"]
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 64Mi}
  securityContext:
    {{- include "extproc.securityContext" . | nindent 4 }}
  volumeMounts:
  - {name: sockets, mountPath: /run/egress}
- name: extproc
  image: {{ include "extproc.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [serve, --config, /etc/extproc]
  ports:
  - {name: metrics, containerPort: 9090}
  startupProbe:
    httpGet: {path: /startupz, port: metrics}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /healthz, port: metrics}
    periodSeconds: 5
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /healthz, port: metrics}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 3
  {{- if eq .Values.platform "sidecar" }}
  lifecycle:
    preStop:
      exec:
        command:
        - /usr/bin/python3
        - -c
        - "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('/run/egress/envoy-admin.sock'); s.sendall(b'POST /healthcheck/fail HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n'); s.recv(64)"
  {{- end }}
  {{- with .Values.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "extproc.securityContext" . | nindent 4 }}
  volumeMounts:
  - {name: configuration, mountPath: /etc/extproc, readOnly: true}
  - {name: sockets, mountPath: /run/egress}
  - {name: kubernetes-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
  {{- if .Values.vault.audience }}
  - {name: vault-token, mountPath: /run/extproc/vault, readOnly: true}
  {{- end }}
  {{- if .Values.redis.passwordSecret }}
  - {name: redis-password, mountPath: /run/extproc/redis, readOnly: true}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "extproc.volumes" -}}
- name: configuration
  configMap: {name: extproc}
{{- if eq .Values.platform "sidecar" }}
- name: bootstrap
  configMap: {name: {{ include "extproc.bootstrapName" . }}}
{{- end }}
- name: sockets
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: kubernetes-token
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
{{- with .Values.vault.audience }}
- name: vault-token
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, audience: {{ quote . }}, expirationSeconds: 3600}
{{- end }}
{{- with .Values.redis.passwordSecret }}
- name: redis-password
  secret: {secretName: {{ quote . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "extproc.scheduling" -}}
{{- range $name, $value := .Values.scheduling }}
{{- if $value }}
{{ dict $name $value | toYaml }}
{{- end }}
{{- end }}
{{- end }}

{{- define "extproc.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {egress.extproc.dev/gateway: egress}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- /* Of Envoy's bootstrap: its hash is in the name of the ConfigMap, so another one is another set of pods. */ -}}
{{- define "extproc.bootstrap" -}}
{{- if and .Values.configuration.files (not .Values.envoy.bootstrap) -}}
{{- fail "configuration.files needs the bootstrap that fits: extproc envoy --config DIR >envoy.yaml, then --set-file envoy.bootstrap=envoy.yaml" -}}
{{- end -}}
{{- .Values.envoy.bootstrap | default (.Files.Get "files/envoy.yaml") -}}
{{- end }}

{{- define "extproc.bootstrapName" -}}
envoy-{{ include "extproc.bootstrap" . | sha256sum | trunc 10 }}
{{- end }}
