package queue

import "errors"

// buried is the error that [Bury] returns.
type buried struct{ error }

// Unwrap returns the failure itself.
func (b buried) Unwrap() error { return b.error }

// Bury returns an error that ends the job as dead, whatever the failure's class is: who did the work has tried it often
// enough.
func Bury(failure error) error { return buried{failure} }

func isBuried(err error) bool {
	var b buried
	return errors.As(err, &b)
}

// IsSnooze says whether an error is one of [Snooze].
func IsSnooze(err error) bool {
	var s *snooze
	return errors.As(err, &s)
}
