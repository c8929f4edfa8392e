package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"nimbus/wire"
)

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// target is a handler and the shape it has.
type target struct {
	handler     reflect.Value
	withContext bool
	event       reflect.Type // nil: it takes none
	result      bool
	err         bool
}

// targetOf looks at the handler's signature. The error says which there may be.
func targetOf(handler any) (*target, error) {
	value := reflect.ValueOf(handler)
	if value.Kind() != reflect.Func || value.IsNil() {
		return nil, signatureError(fmt.Sprintf("is a %T, not a function", handler))
	}
	kind, t := value.Type(), &target{handler: value}
	in := 0
	if kind.NumIn() > 0 && kind.In(0) == contextType {
		t.withContext, in = true, 1
	}
	switch {
	case kind.IsVariadic() || kind.NumIn()-in > 1:
		return nil, signatureError(fmt.Sprintf("takes what the platform can't give: %s", kind))
	case kind.NumIn()-in == 1:
		t.event = kind.In(in)
	}
	outs := kind.NumOut()
	t.err = outs > 0 && kind.Out(outs-1) == errorType
	t.result = outs == 2 || (outs == 1 && !t.err)
	if outs > 2 || (outs == 2 && !t.err) {
		return nil, signatureError(fmt.Sprintf("returns what the platform can't take: %s", kind))
	}
	return t, nil
}

func signatureError(what string) error {
	return fmt.Errorf("the handler %s. Write func Handler(event T) (R, error), "+
		"with a context.Context first if you like; event, R and error may be left out", what)
}

// call runs the handler once: the result's JSON, or what went wrong. A panic, also of a method that the JSON encoder
// calls, is a fault that ends the process. A goroutine that is ended can't return any more: `ended` is called instead.
func (t *target) call(
	ctx context.Context, event []byte, module string, limit int, ended func(*wire.FaultHead),
) (result []byte, fault *wire.FaultHead) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			result, fault = nil, panicFault(value, module)
		} else {
			ended(panicFault(nil, module))
		}
	}()
	args := make([]reflect.Value, 0, 2)
	if t.withContext {
		args = append(args, reflect.ValueOf(ctx))
	}
	if t.event != nil {
		given := reflect.New(t.event)
		if err := json.Unmarshal(event, given.Interface()); err != nil {
			returned = true
			return nil, errorFault(fmt.Errorf("the event does not fit the handler's %s: %w", t.event, err), err)
		}
		args = append(args, given.Elem())
	}
	outs := t.handler.Call(args)
	if t.err {
		if err, ok := outs[len(outs)-1].Interface().(error); ok && err != nil {
			fault = errorFault(err, err)
			returned = true
			return nil, fault
		}
	}
	result = []byte("null")
	if t.result {
		result, fault = encode(outs[0].Interface(), limit)
	}
	returned = true
	return result, fault
}

// encode writes the result as JSON.
func encode(value any, limit int) ([]byte, *wire.FaultHead) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		message := fmt.Sprintf("The result (a %T) can't be written as JSON: %s.", value, err)
		return nil, &wire.FaultHead{Error: message, ErrorType: "ResultNotJson", StackTrace: []string{}}
	}
	if text.Len()-1 > limit {
		message := fmt.Sprintf("The result is larger than the %d bytes that are allowed.", limit)
		return nil, &wire.FaultHead{Error: message, ErrorType: "ResultTooLarge", StackTrace: []string{}}
	}
	return text.Bytes()[:text.Len()-1], nil
}
