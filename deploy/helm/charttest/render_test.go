package charttest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/getter"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

const chart = "../easyfind-rendezvous"

// required are the values without which the chart says what is missing.
var required = []string{
	"publicURL=https://rendezvous.example.org", "database.secretName=database", "tls.secretName=certificate",
}

// rendered is what the chart makes, by name.
type rendered struct {
	deployments map[string]appsv1.Deployment
	services    map[string]corev1.Service
	budgets     map[string]policyv1.PodDisruptionBudget
	scalers     map[string]autoscalingv2.HorizontalPodAutoscaler
}

// manifest renders the chart with values as of helm --set.
func manifest(t *testing.T, set ...string) (string, error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: t.Logf})
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	install.ReleaseName, install.Namespace = "home", "easyfind"
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	release, err := install.Run(c, merged(t, set))
	if err != nil {
		return "", err
	}
	return release.Manifest, nil
}

// merged makes the tree of values that helm --set makes.
func merged(t *testing.T, set []string) map[string]any {
	t.Helper()
	options := values.Options{Values: set}
	tree, err := options.MergeValues(getter.Providers{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// render reads what the chart makes into the types of Kubernetes, in which an
// unknown or a double field is an error.
func render(t *testing.T, set ...string) rendered {
	t.Helper()
	text, err := manifest(t, slices.Concat(required, set)...)
	if err != nil {
		t.Fatal(err)
	}
	r := rendered{
		map[string]appsv1.Deployment{},
		map[string]corev1.Service{},
		map[string]policyv1.PodDisruptionBudget{},
		map[string]autoscalingv2.HorizontalPodAutoscaler{},
	}
	documents := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	for buf := make([]byte, 1<<20); ; {
		n, err := documents.Read(buf)
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		document := bytes.Clone(buf[:n])
		var kind metav1.TypeMeta
		if err := strict.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.APIVersion + " " + kind.Kind {
		case "apps/v1 Deployment":
			keep(t, r.deployments, document)
		case "v1 Service":
			keep(t, r.services, document)
		case "policy/v1 PodDisruptionBudget":
			keep(t, r.budgets, document)
		case "autoscaling/v2 HorizontalPodAutoscaler":
			keep(t, r.scalers, document)
		default:
			t.Errorf("the chart makes a %q, which this test does not know", kind)
		}
	}
}

func keep[T any](t *testing.T, into map[string]T, document []byte) {
	t.Helper()
	var object T
	if err := strict.UnmarshalStrict(document, &object); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	var named metav1.PartialObjectMetadata
	if err := strict.Unmarshal(document, &named); err != nil || named.Name == "" {
		t.Fatalf("no name (%v) in\n%s", err, document)
	}
	if _, twice := into[named.Name]; twice {
		t.Errorf("%s %s is there twice", named.Kind, named.Name)
	}
	into[named.Name] = object
}
