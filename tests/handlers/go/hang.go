package handler

import "fmt"

func Handler() {
	fmt.Println("waiting")
	select {}
}
