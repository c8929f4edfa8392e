package counter

import "fmt"

var count int

func init() {
	fmt.Println("loaded")
}

func Handler() (int, error) {
	count++
	return count, nil
}
