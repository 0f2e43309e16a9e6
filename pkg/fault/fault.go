package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Class says what may be done about a fault by whoever runs into it.
type Class uint8

const (
	// Permanent: the same input fails again. It is reported and not tried again.
	Permanent Class = iota
	// Retryable: the world may be better in a moment. It is tried again with back-off, up to a limit.
	Retryable
	// Conflict: somebody else changed what this was based on. The desired state is computed anew.
	Conflict
	// Refused: a rule stopped it. A person has to act, and nothing is tried until then.
	Refused
)

// String returns the class's name as it stands in the database, the API and metrics.
func (c Class) String() string {
	switch c {
	case Retryable:
		return "retryable"
	case Conflict:
		return "conflict"
	case Refused:
		return "refused"
	default:
		return "permanent"
	}
}

// Severity says whether a fault stops the act that met it.
type Severity uint8

const (
	// Error stops.
	Error Severity = iota
	// Warning is told and does not stop.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText writes the severity as [Severity.String] does.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes; anything but "warning" is an error.
func (s *Severity) UnmarshalText(text []byte) error {
	*s = Error
	if string(text) == Warning.String() {
		*s = Warning
	}
	return nil
}

// Place is where in which file a fault is.
type Place struct {
	// File is a path relative to the root of its repository, with forward slashes; "" if there is no file.
	File string `json:"file,omitempty"`
	// Line counts from 1; 0 means the file as a whole.
	Line int `json:"line,omitempty"`
	// Column counts bytes from 1; 0 means the line as a whole.
	Column int `json:"column,omitempty"`
}

// String returns file:line:column, without the parts that are not known.
func (p Place) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Fault is one thing that is wrong. It is an error, and is found in a chain of errors by [As].
type Fault struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Message is one sentence about this case, without code, place and remedy.
	Message string `json:"message"`
	Place   Place  `json:"place,omitzero"`
	// Excerpt is the source line at Place, cut to a readable length; Caret is the column of the culprit in it, from 1.
	Excerpt string `json:"excerpt,omitempty"`
	Caret   int    `json:"caret,omitempty"`
	// Suggestion is the nearest valid word ("did you mean"), or "".
	Suggestion string `json:"suggestion,omitempty"`
	// Remedy says what to do in this case; "" means that the catalogue's remedy for the code fits. In JSON it is filled in.
	Remedy string `json:"remedy"`
	// Link is the address of the code's page. Only JSON has it; it is "" in a fault that was read.
	Link string `json:"link"`
	// After is how long a retry should wait at least; 0 leaves it to the back-off.
	After time.Duration `json:"-"`
	// Cause is the error below, or nil.
	Cause error `json:"-"`
}

// New makes a fault of a code with a message in the form of [fmt.Sprintf]. A %w in the format sets the cause.
func New(code Code, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// At sets the place and returns the fault.
func (f *Fault) At(p Place) *Fault { f.Place = p; return f }

// Suggest sets the nearest valid word and returns the fault.
func (f *Fault) Suggest(word string) *Fault { f.Suggestion = word; return f }

// Do sets a remedy that is more exact than the catalogue's and returns the fault.
func (f *Fault) Do(format string, args ...any) *Fault {
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

// Warn makes the fault a warning and returns it.
func (f *Fault) Warn() *Fault { f.Severity = Warning; return f }

// RetryAfter sets how long a retry should wait at least and returns the fault.
func (f *Fault) RetryAfter(d time.Duration) *Fault { f.After = d; return f }

// Error returns place, code and message on one line.
func (f *Fault) Error() string {
	var b strings.Builder
	if at := f.Place.String(); at != "" {
		b.WriteString(at + ": ")
	}
	fmt.Fprintf(&b, "%s [%s]", f.Message, f.Code)
	return b.String()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// Class returns the class that the catalogue gives to the fault's code.
func (f *Fault) Class() Class { return f.Code.Entry().Class }

// Advice returns the fault's own remedy, or the catalogue's.
func (f *Fault) Advice() string {
	if f.Remedy != "" {
		return f.Remedy
	}
	return f.Code.Entry().Remedy
}

// As returns the first fault in err's chain. For a [List] that is its first error, or its first warning if nothing in it
// stops.
func As(err error) (*Fault, bool) {
	f, ok := errors.AsType[*Fault](err)
	if !ok || f.Severity == Error {
		return f, ok
	}
	if l, ok := errors.AsType[List](err); ok && l.Err() != nil {
		return l.Errors()[0], true
	}
	return f, true
}

// ClassOf returns the class of the first fault in err's chain. An error that is no fault is retryable: it comes from
// the world outside, which may recover, and the number of attempts is limited.
func ClassOf(err error) Class {
	if f, ok := As(err); ok {
		return f.Class()
	}
	return Retryable
}

// Of returns err as a list of faults: its own if it has some, else one [Internal] fault around it. nil gives nil.
func Of(err error) List {
	if err == nil {
		return nil
	}
	if l, ok := errors.AsType[List](err); ok {
		return l
	}
	if f, ok := errors.AsType[*Fault](err); ok {
		return List{f}
	}
	return List{New(Internal, "%w", err)}
}

// List is several faults; it is an error if it holds at least one of severity [Error].
type List []*Fault

// Error returns the faults one per line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each fault.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, f := range l {
		errs[i] = f
	}
	return errs
}

// Errors returns the faults that stop, in order.
func (l List) Errors() List { return l.only(Error) }

// Warnings returns the faults that do not stop, in order.
func (l List) Warnings() List { return l.only(Warning) }

func (l List) only(s Severity) List {
	var out List
	for _, f := range l {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Err returns the list as an error if something in it stops, else nil.
func (l List) Err() error {
	if len(l.Errors()) == 0 {
		return nil
	}
	return l
}

// Sort orders by file, line, column, code and message, so that the same faults always read the same.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b *Fault) int {
		if c := strings.Compare(a.Place.File, b.Place.File); c != 0 {
			return c
		}
		if c := a.Place.Line - b.Place.Line; c != 0 {
			return c
		}
		if c := a.Place.Column - b.Place.Column; c != 0 {
			return c
		}
		if c := strings.Compare(string(a.Code), string(b.Code)); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
}

// While adds to an error what was being done; that of nil is nil.
func While(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", act, err)
}
