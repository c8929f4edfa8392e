// Greets whoever the event names.
package main

import (
	"context"
	"errors"
	"strings"
)

type Event struct {
	Name string `json:"name"`
}

type Greeting struct {
	Message string `json:"message"`
}

func Handler(ctx context.Context, event Event) (Greeting, error) {
	name := strings.TrimSpace(event.Name)
	if name == "" {
		return Greeting{}, errors.New("the event has no name")
	}
	return Greeting{Message: "Hello, " + name + "!"}, nil
}
