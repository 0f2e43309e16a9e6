// Package kubernetes renders a Score workload to typed Kubernetes objects: a Deployment or StatefulSet, a Service, and
// ConfigMaps and Secrets for files.
//
// Rendering is a pure function. Every field of the workload is rendered or reported as a fault at its place; nothing is
// dropped silently. The objects of provisioners do not pass here; they are text templates by nature.
package kubernetes
