{{- define "name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "selector" -}}
app.kubernetes.io/name: easyfind-rendezvous
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "turn-ports" -}}
- {name: turn-tcp, containerPort: 3478}
- {name: turn-udp, containerPort: 3478, protocol: UDP}
- {name: stun-second, containerPort: 3479, protocol: UDP}
{{- end -}}

{{- define "turn-service-ports" -}}
- {name: turn-tcp, port: 3478, targetPort: turn-tcp}
- {name: turn-udp, port: 3478, targetPort: turn-udp, protocol: UDP}
- {name: stun-second, port: 3479, targetPort: stun-second, protocol: UDP}
{{- end -}}

{{/* "pod" is the pod of an instance. Its parameters: root, component, args,
hostNetwork, probeHost, probePort, ports, resources, nodeSelector, tolerations. */}}
{{- define "pod" -}}
{{- $metrics := and .root.Values.metrics.enabled (or (not .hostNetwork) .root.Values.metrics.onNodes) -}}
metadata:
  labels: {{- include "labels" . | nindent 4 }}
  {{- if $metrics }}
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ .root.Values.metrics.port | quote }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  # The preStop sleep takes 5 seconds. The server then stops within 25 seconds: it
  # moves its peers to other instances, finishes its requests and closes the database.
  terminationGracePeriodSeconds: 40
  {{- with .nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .hostNetwork }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: rendezvous
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        - --config=/settings/rendezvous.yaml
        - --data=/data
        - --public-url={{ .root.Values.publicURL }}
        - --log-level={{ .root.Values.logLevel }}
        - --cluster-listen=$(POD_IP):7443
        - --relay-ports={{ .root.Values.relay.ports }}
        - --relay-per-peer={{ .root.Values.relay.perPeer }}
        {{- range .root.Values.relay.allow }}
        - --relay-allow={{ . }}
        {{- end }}
        {{- range $name, $value := .root.Values.settings }}
        {{- range (kindIs "slice" $value | ternary $value (list $value)) }}
        - {{ printf "--%s=%s" $name (kindIs "string" . | ternary . (toJson .)) | quote }}
        {{- end }}
        {{- end }}
        {{- if and .root.Values.tls.secretName (not .root.Values.tls.pinned) }}
        - --tls-cert=/tls/tls.crt
        - --tls-key=/tls/tls.key
        {{- end }}
        {{- if $metrics }}
        - --metrics-listen=$(POD_IP):{{ .root.Values.metrics.port }}
        {{- end }}
        {{- range .args }}
        - {{ . }}
        {{- end }}
      env:
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        - name: NODE_IP
          valueFrom: {fieldRef: {fieldPath: status.hostIP}}
      ports: {{- toYaml .ports | nindent 8 }}
        {{- if $metrics }}
        - {name: metrics, containerPort: {{ .root.Values.metrics.port }}}
        {{- end }}
      startupProbe:
        httpGet: &probe
          path: /livez
          port: {{ .probePort }}
          scheme: HTTPS
          {{- with .probeHost }}
          host: {{ . }}
          {{- end }}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: *probe
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet:
          path: /readyz
          port: {{ .probePort }}
          scheme: HTTPS
          {{- with .probeHost }}
          host: {{ . }}
          {{- end }}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 2
      # Kubernetes removes a pod from the service only after it has asked it to stop.
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: settings, mountPath: /settings, readOnly: true}
        {{- if not .root.Values.tls.secretName }}
        {{- else if .root.Values.tls.pinned }}
        - {name: tls, mountPath: /data/tls-cert.pem, subPath: tls.crt, readOnly: true}
        - {name: tls, mountPath: /data/tls-key.pem, subPath: tls.key, readOnly: true}
        {{- else }}
        - {name: tls, mountPath: /tls, readOnly: true}
        {{- end }}
  volumes:
    - name: data
      emptyDir: {sizeLimit: 16Mi}
    - name: settings
      secret: {secretName: {{ .root.Values.database.secretName | quote }}, defaultMode: 0440}
    {{- with .root.Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ . | quote }}, defaultMode: 0440}
    {{- end }}
{{- end -}}
