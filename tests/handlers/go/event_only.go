package handler

import "fmt"

func Handler(event map[string]int) {
	fmt.Println(event["n"] + 1)
}
