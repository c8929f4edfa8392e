package handler

// Context looks like the real one to whoever doesn't know types.
type Context = string

func Handler(ctx Context, event any) (any, error) { return event, nil }
