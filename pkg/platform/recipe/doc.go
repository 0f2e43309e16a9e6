// Package recipe evaluates template provisioners in the format of score-k8s: the Go templates init, state, shared,
// outputs and manifests of one provisioner, for one resource.
//
// Evaluation is a pure function: the same input gives the same bytes. Functions of the template language that would
// look at the clock, the network or this machine do not exist here; random ones draw from a seed that the caller
// derives from a secret key and the resource's identity. Values from application repositories are guarded: one that
// would change the structure of the rendered YAML is refused.
package recipe
