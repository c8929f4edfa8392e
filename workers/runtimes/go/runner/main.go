// The Go runner: the one program of ours that a sandbox starts with. Speaks PROTOCOL.md.
//
// Started with NIMBUS_SOCKET (the driver's socket) and NIMBUS_TASK_DIR (the folder that user code starts in). It waits
// for LOAD and then starts the user's program: a handler once, which takes over the connection (handler.go); a program
// that reads stdin anew for each call (program.go).
package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"nimbus/logs"
	"nimbus/wire"
)

// formHandler is the form of a program that was linked with package shim; any other reads stdin.
const formHandler = "handler"

// manifest is what the builder tells of an artifact, in nimbus.json beside the program.
type manifest struct {
	Form   string `json:"form"`
	Module string `json:"module"`
	ABI    int    `json:"abi"`
}

type runner struct {
	link    *wire.Link
	out     *logs.Output
	taskDir string
	load    wire.LoadHead
	head    []byte // of the LOAD frame, as it came
	program string // path of the user's
	env     []string
	made    manifest
}

func main() {
	r := &runner{link: &wire.Link{FD: connect(os.Getenv("NIMBUS_SOCKET"))}, taskDir: os.Getenv("NIMBUS_TASK_DIR")}
	r.out = logs.New(r.link)
	r.link.Send(wire.Hello, map[string]any{
		"protocol": 1, "runtime": "go1.24", "pid": os.Getpid(),
		"language_version": strings.TrimPrefix(runtime.Version(), "go"),
	}, nil)
	for {
		switch kind, head, body := r.link.Receive(); kind {
		case wire.Load:
			r.start(head)
		case wire.Invoke:
			r.call(head, body)
		case wire.Ping:
			r.link.Send(wire.Pong, wire.Raw(head), body)
		default:
			os.Exit(wire.ExitDisconnected)
		}
	}
}

// connect gives the descriptor of a connected Unix socket, blocking and closed on exec.
func connect(path string) int {
	conn, err := net.Dial("unix", path)
	if err != nil {
		os.Stderr.WriteString("the driver's socket can't be reached: " + err.Error() + "\n")
		os.Exit(wire.ExitDisconnected)
	}
	file, err := conn.(*net.UnixConn).File() // a copy; Fd below makes it blocking
	if err != nil {
		os.Exit(wire.ExitDisconnected)
	}
	_ = conn.Close()
	fd := int(file.Fd())
	keep = file
	return fd
}

// keep holds the connection's file: collected, it would close the descriptor.
var keep *os.File

// start does what LOAD asks for.
func (r *runner) start(head []byte) {
	began := time.Now()
	r.head = append([]byte(nil), head...)
	if json.Unmarshal(r.head, &r.load) != nil {
		os.Exit(wire.ExitDisconnected)
	}
	r.out.SetLimit(r.load.MaxLogBytes)
	folder := filepath.Join(r.load.Files, "task")
	r.program = filepath.Join(folder, "main")
	if r.load.ArtifactKind != "elf" {
		r.refuse("ArtifactKind", "This runtime can't load an artifact of kind "+strconv.Quote(r.load.ArtifactKind)+".")
		return
	}
	if info, err := os.Stat(r.program); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		r.refuse("ArtifactMissing", "The function's artifact has no program named main.")
		return
	}
	if text, err := os.ReadFile(filepath.Join(folder, "nimbus.json")); err == nil {
		_ = json.Unmarshal(text, &r.made)
	}
	if r.made.Form == formHandler && r.made.ABI != wire.ABI {
		r.refuse("ArtifactOutdated", "The function was compiled by another release of Nimbus. Compile it again.")
		return
	}
	r.env = environment(os.Environ(), &r.load)
	if r.made.Form == formHandler {
		r.becomeHandler()
	}
	r.answer(wire.Loaded, map[string]float64{"load_ms": milliseconds(began)}, nil)
}

// refuse says that the code can't be loaded.
func (r *runner) refuse(errorType, message string) {
	r.answer(wire.Fault, wire.FaultHead{Error: message, ErrorType: errorType, StackTrace: []string{}}, nil)
}

// answer ends a call or the load: what was printed goes first.
func (r *runner) answer(kind byte, head any, body []byte) {
	r.link.Mu.Lock()
	defer r.link.Mu.Unlock()
	r.out.End()
	r.link.SendLocked(kind, head, body)
}

// environment is the sandbox's own, without what is the platform's, then the function's, which wins.
func environment(base []string, load *wire.LoadHead) []string {
	values := map[string]string{}
	for _, entry := range base {
		if name, value, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "NIMBUS_") {
			values[name] = value
		}
	}
	if most := processors(); most > 0 {
		values["GOMAXPROCS"] = strconv.Itoa(most)
	}
	for name, value := range load.Env {
		values[name] = value
	}
	list := make([]string, 0, len(values))
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	return list
}

// processors is how many threads the sandbox's share of the processors is worth; 0 when nothing bounds it. Go 1.24
// itself only counts the machine's.
func processors() int {
	quota, period := "", ""
	if text, err := os.ReadFile("/sys/fs/cgroup/cpu.max"); err == nil {
		quota, period, _ = strings.Cut(strings.TrimSpace(string(text)), " ")
	} else {
		quota, period = firstLine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), firstLine("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
	}
	share, err := strconv.ParseFloat(quota, 64)
	per, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || share <= 0 || per <= 0 {
		return 0
	}
	// Two at least: what carries the output away must not wait for the handler.
	if most := max(2, int(share/per+0.999)); most < runtime.NumCPU() {
		return most
	}
	return 0
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}
