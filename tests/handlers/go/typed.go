package shop

import (
	"context"
	"errors"
	"fmt"
)

type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

type Receipt struct {
	Text  string   `json:"text"`
	Items []string `json:"items,omitempty"`
}

type OutOfStock struct{ item string }

func (e *OutOfStock) Error() string { return "no " + e.item + " left" }

func Handler(ctx context.Context, order Order) (*Receipt, error) {
	switch {
	case order.Count < 0:
		return nil, errors.New("bad number")
	case order.Item == "ink":
		return nil, &OutOfStock{order.Item}
	case order.Item == "paper":
		return nil, fmt.Errorf("outer: %w", &OutOfStock{order.Item})
	case order.Item == "":
		return nil, nil
	}
	return &Receipt{Text: fmt.Sprint(order.Count, " <", order.Item, ">"), Items: []string{order.Item}}, ctx.Err()
}
