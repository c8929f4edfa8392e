package handler

import (
	"context"
	"errors"
)

func Handler(ctx context.Context) error {
	if ctx.Err() == nil {
		return errors.New("nothing to do")
	}
	return nil
}
