// Package nimbus tells a Go function about the call it serves.
//
//	func Handler(ctx context.Context, order Order) (Receipt, error) {
//		log.Println("request", nimbus.FromContext(ctx).RequestID)
//		…
//	}
//
// The builder has it; nothing needs to be put into go.mod or vendor/.
package nimbus

import (
	"context"
	"time"
)

// Call is one run of the function.
type Call struct {
	InvocationID    string `json:"invocation_id"`
	RequestID       string `json:"request_id"`
	FunctionName    string `json:"function_name"`
	FunctionVersion int    `json:"function_version"`
	FunctionID      string `json:"function_id"`
	MemoryLimitMB   int    `json:"memory_limit_mb"`
	TimeoutSec      int    `json:"timeout_sec"`
	Alias           string `json:"alias"`
	Attempt         int    `json:"attempt"`
	TriggerType     string `json:"trigger_type"`

	// Deadline is when the call is stopped, the same as the context's.
	Deadline time.Time `json:"deadline"`
}

// RemainingTime is what is left until the call is stopped.
func (c *Call) RemainingTime() time.Duration {
	return max(0, time.Until(c.Deadline))
}

type key struct{}

// FromContext gives the call that a handler's context belongs to; an empty one for any other context, as in a unit
// test.
func FromContext(ctx context.Context) *Call {
	if call, ok := ctx.Value(key{}).(*Call); ok {
		return call
	}
	return &Call{}
}

// NewContext gives a context that carries the call. The platform uses it, and a test of a handler may.
func NewContext(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, key{}, call)
}
