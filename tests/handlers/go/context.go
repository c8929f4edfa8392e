package handler

import (
	"context"
	"time"

	"nimbus"
)

func Handler(ctx context.Context, _ struct{}) (map[string]any, error) {
	call := nimbus.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	left := call.RemainingTime()
	return map[string]any{
		"request_id": call.RequestID, "function_name": call.FunctionName, "function_version": call.FunctionVersion,
		"memory_limit_mb": call.MemoryLimitMB, "timeout_sec": call.TimeoutSec, "alias": call.Alias,
		"attempt": call.Attempt, "trigger_type": call.TriggerType, "invocation_id": call.InvocationID,
		"left": ok && deadline.Equal(call.Deadline) && 0 < left && left <= time.Duration(call.TimeoutSec)*time.Second,
	}, nil
}
