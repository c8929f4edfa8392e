package handler

import (
	"fmt"
	"os"
)

func Handler() {
	fmt.Println("leaving")
	os.Exit(3)
}
