// Package platform holds what the platform team decides: environments with their targets, provisioners that fulfil
// Score resources, and defaults for what a Score file leaves open.
//
// A configuration is a set of files. It is read strictly and validated as a whole; an invalid one never takes the place
// of a valid one. A loaded [Platform] is immutable and identified by the digest of its files. Provisioners are described
// here and executed in pkg/planner/provision.
package platform
