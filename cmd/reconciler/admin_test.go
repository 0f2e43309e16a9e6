package main

import "testing"

func TestANewTokenSaysWhatItMayDoAndUntilWhen(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"token me: admin, never expires":                tokenReach("me", []string{"admin"}, 0),
		"token ci: read and deploy, expires in 30 days": tokenReach("ci", []string{"read", "deploy"}, 30),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
