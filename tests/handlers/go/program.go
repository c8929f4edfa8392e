// A program: the event on stdin, the result on stdout, a process for each call. Does as the event says.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

var (
	count = 0
	kept  [][]byte
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	var event any
	if err := json.Unmarshal(text, &event); err != nil {
		panic(err)
	}
	if what, ok := event.(string); ok && deeds[what] != nil {
		deeds[what]()
		return
	}
	os.Stdout.Write(text)
}

func answer(value any) { _ = json.NewEncoder(os.Stdout).Encode(value) }

var deeds = map[string]func(){
	"counts": func() { count++; answer(count) },
	"prints": func() { fmt.Fprint(os.Stderr, "one\ntwo\nunfinished"); fmt.Println("  null\n") },
	"environment": func() {
		answer([]string{os.Getenv("COLOUR"), os.Getenv("NIMBUS_REQUEST_ID"), os.Getenv("NIMBUS_FUNCTION_VERSION")})
	},
	"leaves_a_child": func() {
		child := exec.Command("/bin/sleep", "1000")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			panic(err)
		}
		answer("left")
	},
	"exits_3":         func() { fmt.Fprintln(os.Stderr, "leaving"); os.Exit(3) },
	"panics":          func() { inner() },
	"panics_in_other": func() { go inner(); select {} },
	"deadlocks":       func() { <-make(chan int) },
	"terminates":      func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} },
	"hangs": func() {
		fmt.Fprintln(os.Stderr, "waiting")
		go func() {
			for {
			}
		}()
		select {}
	},
	"eats": func() {
		fmt.Fprintln(os.Stderr, "eating")
		for {
			kept = append(kept, []byte(strings.Repeat("x", 1<<20)))
		}
	},
	"logs_endlessly": func() {
		for {
			fmt.Fprintln(os.Stderr, "endless")
		}
	},
	"result_text":  func() { fmt.Println("hello, world") },
	"result_two":   func() { answer(1); answer(2) },
	"result_empty": func() {},
	"result_nan":   func() { fmt.Println("NaN") },
	"result_bytes": func() { os.Stdout.Write([]byte("\"\xff\xfe")) },
	"result_large": func() { answer(strings.Repeat("x", 7<<20)) },
	"result_endless": func() {
		for {
			fmt.Println("endless")
		}
	},
}

func inner() { panic("boo") }
