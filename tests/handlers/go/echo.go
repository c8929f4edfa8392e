package handler

func Handler(event any) (any, error) {
	return event, nil
}
