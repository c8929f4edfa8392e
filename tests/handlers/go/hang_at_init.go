package main

import "fmt"

func init() {
	fmt.Println("loading")
	select {}
}

func Handler() {}
