package handler

import (
	"fmt"
	"os"
	"time"
)

func between() {
	for {
		if _, err := os.Stat("go"); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println("between")
	os.WriteFile("done", nil, 0o600)
}

func Handler(event int) (int, error) {
	if event == 1 {
		if err := os.Chdir(os.Getenv("HOME")); err != nil {
			return 0, err
		}
		go between()
	}
	return event, nil
}
