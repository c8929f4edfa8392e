// Does as the event says.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

var (
	deeds   map[string]func() (any, error)
	proceed = make(chan bool)
	done    = make(chan bool)
	kept    [][]byte
)

func Handler(what string) (any, error) {
	deed, ok := deeds[what]
	if !ok {
		return nil, errors.New("no such deed: " + what)
	}
	return deed()
}

func init() {
	deeds = map[string]func() (any, error){
		"prints": func() (any, error) {
			fmt.Println("one")
			fmt.Print("two\nthree\n")
			_, err := os.Stdout.Write([]byte("four bytes\n"))
			fmt.Print("unfinished")
			return nil, err
		},
		"prints_to_stderr": func() (any, error) {
			println("by the runtime")
			fmt.Fprintln(os.Stderr, "by the package")
			return nil, nil
		},
		"child_prints": func() (any, error) {
			fmt.Println("before")
			child := exec.Command("/bin/echo", "from a child")
			child.Stdout = os.Stdout
			err := child.Run()
			fmt.Println("after")
			return 1, err
		},
		"many_lines": func() (any, error) {
			for n := range 10_000 {
				fmt.Println("line", n)
			}
			return "done", nil
		},
		"will_print_later": func() (any, error) {
			go func() {
				<-proceed
				fmt.Println("late")
				done <- true
			}()
			return 1, nil
		},
		"prints_later": func() (any, error) {
			proceed <- true
			<-done
			return 2, nil
		},
		"closes_stdout":   func() (any, error) { return 1, errors.Join(os.Stdout.Close(), os.Stderr.Close()) },
		"says":            func() (any, error) { fmt.Println("said"); return 2, nil },
		"replaces_stdout": replaceStdout,
		"starts_a_survivor": func() (any, error) {
			child := exec.Command("/bin/sh", "-c", "trap '' HUP; sleep 1000")
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			return 1, child.Start()
		},
		"unicode": func() (any, error) {
			return map[string]string{"text": "é\U0001f600", "bad": "a\xffb", "nul": "\x00"}, nil
		},
		"fills_tmp": fillTmp,
		"null":      func() (any, error) { return nil, nil },
		"list":      func() (any, error) { return []any{1, []int{2}}, nil },
		"number":    func() (any, error) { return 1.5, nil },
		"true":      func() (any, error) { return true, nil },
		"no_slice":  func() (any, error) { return []int(nil), nil },

		"spins_in_others": func() (any, error) {
			for range 8 {
				go func() {
					for {
					}
				}()
			}
			fmt.Println("spinning")
			select {}
		},
		"eats": func() (any, error) {
			fmt.Println("eating")
			for {
				kept = append(kept, bytes.Repeat([]byte("x"), 1<<20))
			}
		},
		"fork_bomb": func() (any, error) {
			fmt.Println("forking")
			// Only sh forks: of Go itself a thread that can't be had would be the end.
			child := exec.Command("/bin/sh", "-c", "bomb() { bomb | bomb & }; bomb; while :; do bomb; done")
			err := child.Run()
			select {}
			return nil, err
		},
		"endless_output":  func() (any, error) { return nil, writeForever("endless\n") },
		"endless_line":    func() (any, error) { return nil, writeForever("endless ") },
		"kills_itself":    func() (any, error) { err := syscall.Kill(os.Getpid(), syscall.SIGKILL); select {}; return nil, err },
		"aborts":          func() (any, error) { err := syscall.Kill(os.Getpid(), syscall.SIGABRT); select {}; return nil, err },
		"reads_outside":   func() (any, error) { return *(*int)(unsafe.Pointer(uintptr(0x12345678))), nil },
		"recurses":        func() (any, error) { return recurse(1), nil },
		"races":           race,
		"ends_goroutine":  func() (any, error) { runtime.Goexit(); return nil, nil },
		"disturbs":        disturb,
		"panics":          func() (any, error) { inner(3); return nil, nil },
		"panics_by_nil":   func() (any, error) { var m map[string]int; m["a"] = 1; return nil, nil },
		"panics_by_index": func() (any, error) { return []int{}[len(os.Args)], nil },
		"panics_elsewhere": func() (any, error) {
			go inner(4)
			select {}
		},
		"panics_with_error": func() (any, error) { panic(shy{}) },
		"recovers":          func() (any, error) { return survive(), nil },

		"result_small":    func() (any, error) { return "small", nil },
		"result_large":    func() (any, error) { return strings.Repeat("x", 7<<20), nil },
		"result_channel":  func() (any, error) { return map[string]any{"c": make(chan int)}, nil },
		"result_function": func() (any, error) { return func() {}, nil },
		"result_nan":      func() (any, error) { return math.NaN(), nil },
		"result_circular": func() (any, error) { node := &node{}; node.Next = node; return node, nil },
		"result_panics":   func() (any, error) { return bad{}, nil },
		"error_shy":       func() (any, error) { return nil, shy{} },
		"error_giant":     func() (any, error) { return nil, errors.New(strings.Repeat("m", 10_000_000)) },
		"error_strange":   func() (any, error) { return nil, errors.New("nul \x00 bad \xff end") },
		"error_joined":    func() (any, error) { return nil, errors.Join(errors.New("a"), errors.New("b")) },
	}
}

type node struct{ Next *node }

type shy struct{}

func (shy) Error() string { panic("no") }

type bad struct{}

func (bad) MarshalJSON() ([]byte, error) { panic("not written") }

func inner(number int) {
	panic(fmt.Sprintf("bad number %d", number))
}

func survive() (said any) {
	defer func() { said = recover() }()
	inner(5)
	return nil
}

func recurse(n int) int { return n + recurse(n+1) }

func replaceStdout() (any, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	os.Stdout = null
	fmt.Println("unheard")
	return 1, err
}

func fillTmp() (any, error) {
	file, err := os.CreateTemp("", "big")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	block := bytes.Repeat([]byte("x"), 1_000_000)
	for range 1000 {
		if _, err = file.Write(block); err != nil {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "ENOSPC", nil
	case errors.Is(err, syscall.EFBIG):
		return "EFBIG", nil
	}
	return nil, err
}

func writeForever(text string) error {
	for {
		if _, err := fmt.Print(text); err != nil {
			return err
		}
	}
}

func race() (any, error) {
	shared := map[int]int{}
	for n := range 4 {
		go func() {
			for i := 0; ; i++ {
				shared[i%10] = n
			}
		}()
	}
	select {}
}

func disturb() (any, error) {
	for fd := 3; fd < 64; fd++ {
		var stat syscall.Stat_t
		if syscall.Fstat(fd, &stat) == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFSOCK {
			_, _ = syscall.Write(fd, bytes.Repeat([]byte{0xff}, 64))
		}
	}
	return "sent", nil
}
