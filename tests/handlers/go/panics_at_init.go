package handler

import "fmt"

var settings = read()

func read() map[string]string {
	fmt.Println("reading")
	panic(fmt.Errorf("no settings"))
}

func Handler() map[string]string { return settings }
