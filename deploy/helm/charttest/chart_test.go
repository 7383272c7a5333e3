package charttest

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// kinds are the installations that the values offer.
var kinds = map[string][]string{
	"instances and relays":  nil,
	"no relays":             {"relay.enabled=false"},
	"on the nodes' network": {"hostNetwork=true", "relay.enabled=false", "relay.ip=198.51.100.7"},
	"everything set": {
		"tls.pinned=true", "autoscaling.enabled=true", "replicas=5", "relay.replicas=3",
		"relay.allow={192.168.1.0/24,10.0.0.0/8}",
		"service.type=NodePort", "service.annotations.a=b", "relay.service.annotations.c=d",
		"service.loadBalancerIP=198.51.100.7",
		"nodeSelector.disk=ssd", "relay.nodeSelector.edge=yes", "imagePullSecrets[0].name=registry", "logLevel=debug",
		"tolerations[0].operator=Exists",
		"settings.proxy-protocol={10.0.0.0/8,192.0.2.0/24}", "settings.trusted-proxies={10.0.0.0/8}",
		"settings.max-connections-per-source=2000000",
		"settings.relay-rate-per-peer=100",
	},
	"a certificate from an authority": {"tls.secretName=", "settings.acme=true", "settings.acme-agree-terms=true"},
}

func TestLint(t *testing.T) {
	for name, set := range kinds {
		lint := action.NewLint()
		lint.Strict = true
		result := lint.Run([]string{chart}, merged(t, slices.Concat(required, set)))
		for _, err := range result.Errors {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestObjects checks for every kind of installation what Kubernetes requires of
// objects that refer to each other.
func TestObjects(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := render(t, set...)
			if len(r.deployments) == 0 {
				t.Fatal("no deployment")
			}
			for name, d := range r.deployments {
				labels := d.Spec.Template.Labels
				if !within(d.Spec.Selector.MatchLabels, labels) {
					t.Errorf("deployment %s does not select its own pods", name)
				}
				b, ok := r.budgets[name]
				if !ok || !within(b.Spec.Selector.MatchLabels, labels) {
					t.Errorf("no disruption budget is for the pods of %s", name)
				}
				s, ok := r.services[name]
				if !ok || !within(s.Spec.Selector, labels) {
					t.Errorf("no service is for the pods of %s", name)
				}
				checkPorts(t, s, d)
				checkPod(t, d)
			}
		})
	}
}

func within(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// checkPorts finds every port of the service in the pods.
func checkPorts(t *testing.T, s corev1.Service, d appsv1.Deployment) {
	t.Helper()
	container := d.Spec.Template.Spec.Containers[0]
	for _, p := range s.Spec.Ports {
		i := slices.IndexFunc(container.Ports,
			func(c corev1.ContainerPort) bool { return intstr.FromString(c.Name) == p.TargetPort })
		if i < 0 || protocol(container.Ports[i].Protocol) != protocol(p.Protocol) {
			t.Errorf("service %s: no container has the port %s", s.Name, p.TargetPort.String())
		}
	}
	probe := container.ReadinessProbe.HTTPGet.Port
	if probe.Type == intstr.String && !slices.ContainsFunc(container.Ports,
		func(c corev1.ContainerPort) bool { return c.Name == probe.StrVal }) {
		t.Errorf("the probe of %s asks an unknown port %s", d.Name, probe.StrVal)
	}
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// checkPod checks that a pod has no privileges and is drained before it ends.
func checkPod(t *testing.T, d appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	switch {
	case pod.SecurityContext == nil || !*pod.SecurityContext.RunAsNonRoot:
		t.Errorf("%s runs as root", d.Name)
	case *c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem:
		t.Errorf("%s may write its image or gain rights", d.Name)
	case *pod.AutomountServiceAccountToken:
		t.Errorf("%s is handed a token for the cluster", d.Name)
	case c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz":
		t.Errorf("%s: probes ask the wrong paths", d.Name)
	case *pod.TerminationGracePeriodSeconds < 30: // the sleep and the server's stopWait
		t.Errorf("%s is not left the time to send its peers away", d.Name)
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = true
	}
	for _, v := range pod.Volumes {
		if !mounted[v.Name] {
			t.Errorf("%s: volume %s is not mounted", d.Name, v.Name)
		}
	}
}

var flag = regexp.MustCompile(`^--([a-z-]+)=`)

// TestArguments checks that every argument of the pods is a flag that the program
// has.
func TestArguments(t *testing.T) {
	help := exec.Command("go", "run", "./rendezvous/cmd/easyfind-rendezvous", "--help")
	help.Dir = "../../.."
	known, err := help.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, known)
	}
	for name, set := range kinds {
		for _, d := range render(t, set...).deployments {
			for _, a := range d.Spec.Template.Spec.Containers[0].Args {
				m := flag.FindStringSubmatch(a)
				if m == nil || !strings.Contains(string(known), "--"+m[1]) {
					t.Errorf("%s: easyfind-rendezvous knows no %s", name, a)
				}
			}
		}
	}
}

// TestSettings checks that each setting becomes one argument, whatever its type.
func TestSettings(t *testing.T) {
	for _, d := range render(t, kinds["everything set"]...).deployments {
		args := d.Spec.Template.Spec.Containers[0].Args
		for _, want := range []string{
			"--proxy-protocol=10.0.0.0/8", "--proxy-protocol=192.0.2.0/24", "--trusted-proxies=10.0.0.0/8",
			"--max-connections-per-source=2000000", "--relay-rate-per-peer=100",
		} {
			if !slices.Contains(args, want) {
				t.Errorf("%s: no %s in %q", d.Name, want, args)
			}
		}
	}
	for _, d := range render(t, kinds["a certificate from an authority"]...).deployments {
		if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--acme=true") ||
			slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--tls-") }) {
			t.Errorf("%s: its certificate is not the authority's: %q", d.Name, args)
		}
	}
}

func TestUpdatesAndScaling(t *testing.T) {
	r := render(t)
	instances, relays := r.deployments["home"], r.deployments["home-relay"]
	if u := instances.Spec.Strategy.RollingUpdate; u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() != 1 {
		t.Errorf("an update of the instances takes one away before another is there: %+v", u)
	}
	if u := relays.Spec.Strategy.RollingUpdate; !relays.Spec.Template.Spec.HostNetwork || u.MaxSurge.IntValue() != 0 {
		t.Error("relays on the nodes' network cannot have two on a node")
	}
	if *instances.Spec.Replicas != 2 || len(r.scalers) != 0 {
		t.Error("want two instances, not scaled by themselves")
	}
	r = render(t, "autoscaling.enabled=true", "autoscaling.maxReplicas=7")
	h := r.scalers["home"]
	if h.Spec.ScaleTargetRef.Name != "home" || h.Spec.MaxReplicas != 7 || r.deployments["home"].Spec.Replicas != nil {
		t.Errorf("the scaler is not of the instances alone: %+v", h.Spec)
	}
	if m := h.Spec.Metrics; len(m) != 2 || m[0].Pods == nil || m[0].Pods.Metric.Name != "easyfind_peers_connected" ||
		m[0].Pods.Target.AverageValue.Value() != 15000 {
		t.Errorf("the scaler does not go by connected peers: %+v", m)
	}
	if m := render(t, "autoscaling.enabled=true",
		"autoscaling.averagePeers=0").scalers["home"].Spec.Metrics; len(m) != 1 || m[0].Resource == nil {
		t.Errorf("without the metric of peers the scaler does not go by memory: %+v", m)
	}
}

// TestRefusals checks that impossible values are refused with one sentence.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string
		says string
	}{
		"no public URL":   {required[1:], "publicURL"},
		"no database":     {slices.Concat(required[:1], required[2:]), "database"},
		"no certificate":  {required[:2], "tls"},
		"two of them":     {append(slices.Clone(required), "settings.acme=true"), "tls.secretName"},
		"a setting twice": {append(slices.Clone(required), "settings.listen=:443"), "listen"},
		"an unknown key":  {append(slices.Clone(required), "replica=3"), "replica"},
		"a wrong type":    {append(slices.Clone(required), "replicas=many"), "replicas"},
		"relays twice":    {append(slices.Clone(required), "hostNetwork=true"), "relay.enabled=false"},
		"plain http":      {append(slices.Clone(required[1:]), "publicURL=http://a.example"), "publicURL"},
		"an unknown kind": {append(slices.Clone(required), "service.type=Carrier"), "service"},
	} {
		if _, err := manifest(t, c.set...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want a refusal that names %s", name, err, c.says)
		}
	}
}
