package shim

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"unicode/utf8"

	"nimbus/crash"
	"nimbus/wire"
)

const (
	maxMessage = 64 * 1024
	maxCauses  = 5
	maxDepth   = 256
)

// errorFault is what a returned error becomes: its message, its type's name, and the errors it wraps. `typed` is the
// error whose type counts.
func errorFault(err, typed error) *wire.FaultHead {
	stack := []string{}
	for cause := errors.Unwrap(err); cause != nil && len(stack) < maxCauses; cause = errors.Unwrap(cause) {
		stack = append(stack, fmt.Sprintf("caused by %s: %s", typeName(cause), messageOf(cause.Error)))
	}
	return &wire.FaultHead{Error: messageOf(err.Error), ErrorType: typeName(typed), StackTrace: stack}
}

// panicFault is what a panic becomes; a nil value without a panic is a handler that ended its goroutine.
func panicFault(value any, module string) *wire.FaultHead {
	fault := &wire.FaultHead{ErrorType: "panic", StackTrace: []string{}, Fatal: true}
	if value == nil {
		fault.Error = "The handler ended its goroutine (runtime.Goexit) instead of returning."
		return fault
	}
	fault.Error = messageOf(func() string {
		if err, ok := value.(error); ok {
			return err.Error()
		}
		return fmt.Sprint(value)
	})
	fault.StackTrace = stack(module)
	return fault
}

// stack gives the user's frames of the goroutine that panics, outermost first.
func stack(module string) []string {
	counters := make([]uintptr, maxDepth)
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters)])
	var found []string
	for {
		frame, more := frames.Next()
		if line := crash.Frame(frame.Function, frame.File, strconv.Itoa(frame.Line), module); line != "" {
			found = append(found, line)
		}
		if !more {
			return crash.Outermost(found)
		}
	}
}

// messageOf asks a value of the user's for its text, which may panic or be endless.
func messageOf(text func() string) (message string) {
	defer func() {
		if recover() != nil {
			message = "(its message can't be shown)"
		}
	}()
	message = text()
	if count := len(message); count > maxMessage {
		cut := maxMessage
		for cut > 0 && !utf8.RuneStart(message[cut]) {
			cut--
		}
		message = fmt.Sprintf("%s… (cut: %d characters)", message[:cut], utf8.RuneCountInString(message))
	}
	return message
}

// typeName is the bare name of an error's type, as in a Go programmer's own words.
func typeName(err error) string {
	kind := reflect.TypeOf(err)
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Name() == "" {
		return kind.String()
	}
	return kind.Name()
}
