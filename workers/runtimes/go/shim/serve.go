package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"nimbus"
	"nimbus/wire"
)

// exitPanicked is what Go's runtime itself ends with after a panic.
const exitPanicked = 2

// Serve answers calls with the handler until the connection ends. `module` is where the user's files are.
func Serve(handler any, module string) {
	s := process
	if s == nil {
		fmt.Fprintln(os.Stderr, "This program is a Nimbus function ("+wire.Marker+"): the platform starts it.")
		os.Exit(exitPanicked)
	}
	s.page.Module(module)
	target, err := targetOf(handler)
	if err != nil {
		s.answer(wire.Fault, wire.FaultHead{Error: err.Error(), ErrorType: "HandlerSignature", StackTrace: []string{}}, nil)
		os.Exit(0)
	}
	s.answer(wire.Loaded, map[string]float64{"load_ms": milliseconds(s.began)}, nil)
	for {
		switch kind, head, body := s.link.Receive(); kind {
		case wire.Invoke:
			s.run(target, module, head, body)
		case wire.Ping:
			s.link.Send(wire.Pong, wire.Raw(head), body)
		default:
			os.Exit(wire.ExitDisconnected)
		}
	}
}

func (s *shim) run(target *target, module string, headText, event []byte) {
	var head wire.InvokeHead
	if json.Unmarshal(headText, &head) != nil {
		os.Exit(wire.ExitDisconnected)
	}
	s.page.Begin(head.ID, time.Now().UnixNano())
	s.peak.Reset()
	s.restore()
	s.out.Begin(head.ID)
	began := time.Now()
	ctx, cancel := s.context(&head, began)
	failed := func(fault *wire.FaultHead) {
		fault.ID, fault.DurationMS, fault.MemoryMB = head.ID, milliseconds(began), s.peak.MB()
		s.answer(wire.Fault, fault, nil)
		if fault.Fatal {
			os.Exit(exitPanicked)
		}
	}
	result, fault := target.call(ctx, event, module, s.load.MaxResultBytes, failed)
	cancel()
	if fault != nil {
		failed(fault)
		return
	}
	s.answer(wire.Result, wire.ResultHead{ID: head.ID, DurationMS: milliseconds(began), MemoryMB: s.peak.MB()}, result)
}

// answer ends a call: all that was printed goes first, and nothing can come between.
func (s *shim) answer(kind byte, head any, body []byte) {
	s.link.Mu.Lock()
	defer s.link.Mu.Unlock()
	s.pipes.Drain()
	s.out.End()
	s.page.Rest()
	s.link.SendLocked(kind, head, body)
}

func (s *shim) context(head *wire.InvokeHead, began time.Time) (context.Context, context.CancelFunc) {
	call := &nimbus.Call{
		InvocationID: head.ID, RequestID: head.RequestID, Alias: head.Alias, Attempt: head.Attempt,
		TriggerType: head.TriggerType, FunctionName: s.load.FunctionName, FunctionVersion: s.load.FunctionVersion,
		FunctionID: s.load.FunctionID, MemoryLimitMB: s.load.MemoryMB, TimeoutSec: s.load.TimeoutSec,
		Deadline: began.Add(time.Duration(head.RemainingMS) * time.Millisecond),
	}
	return context.WithDeadline(nimbus.NewContext(context.Background(), call), call.Deadline)
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}
