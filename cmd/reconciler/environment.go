package main

import (
	"fmt"
	"regexp"
)

// environmentName is the form of an environment's name: it is the name of its file in the platform configuration.
var environmentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

const environmentForm = "at most 63 lower-case letters, digits and dashes"

// environmentFlag is the value of -e.
type environmentFlag string

// String implements pflag.Value.
func (e *environmentFlag) String() string { return string(*e) }

// Type implements pflag.Value.
func (e *environmentFlag) Type() string { return "string" }

// Set implements pflag.Value.
func (e *environmentFlag) Set(s string) error {
	if s != "" && !environmentName.MatchString(s) {
		return fmt.Errorf("%q is not the name of an environment: %s", s, environmentForm)
	}
	*e = environmentFlag(s)
	return nil
}
