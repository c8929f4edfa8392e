package handler

import "fmt"

func Handler() {
	fmt.Println("spinning")
	for n := 0; ; n++ {
	}
}
