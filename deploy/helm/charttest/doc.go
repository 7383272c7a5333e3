// Package charttest renders the Helm chart as helm install would and holds the
// result against the types of Kubernetes. It is a module of its own, so that
// Helm and Kubernetes are no dependencies of the programs.
package charttest
