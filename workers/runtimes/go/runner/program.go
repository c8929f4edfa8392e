package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nimbus/crash"
	"nimbus/wire"
)

const (
	chunk      = 64 * 1024
	tailBytes  = 64 * 1024 // of stderr, to find a panic in
	tailShown  = 2000
	shownBytes = 200
	// A descendant that got away from its group may hold the pipes open: it is not waited for.
	afterEnd = 100 * time.Millisecond
)

// call runs the program once: the event is its input, its output the result.
func (r *runner) call(headText, event []byte) {
	var head wire.InvokeHead
	if json.Unmarshal(headText, &head) != nil {
		os.Exit(wire.ExitDisconnected)
	}
	r.out.Begin(head.ID)
	began := time.Now()
	run, err := r.spawn(&head, event)
	if err != nil {
		r.fault(head.ID, began, 0, &wire.FaultHead{ErrorType: "ProgramNotStarted",
			Error: "The function's program can't be started: " + err.Error() + "."})
		return
	}
	state := run.wait()
	memory := peakOf(state)
	if fault := run.verdict(state, r.load.MaxResultBytes, r.made.Module); fault != nil {
		r.fault(head.ID, began, memory, fault)
		return
	}
	r.answer(wire.Result, wire.ResultHead{ID: head.ID, DurationMS: milliseconds(began), MemoryMB: memory}, run.result())
}

func (r *runner) fault(id string, began time.Time, memory float64, fault *wire.FaultHead) {
	fault.ID, fault.DurationMS, fault.MemoryMB = id, milliseconds(began), memory
	if fault.StackTrace == nil {
		fault.StackTrace = []string{}
	}
	r.answer(wire.Fault, fault, nil)
}

// run is one process and what came out of it.
type run struct {
	command *exec.Cmd
	reads   [2]*os.File
	ended   chan struct{} // one for each stream that has been read to its end
	stdout  bytes.Buffer
	tail    []byte
}

func (r *runner) spawn(head *wire.InvokeHead, event []byte) (*run, error) {
	input := os.NewFile(uintptr(memoryOf(event)), "event")
	defer input.Close()
	one := &run{ended: make(chan struct{}, 2)}
	var writes [2]*os.File
	for stream := range writes {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		one.reads[stream], writes[stream] = read, write
		defer write.Close()
	}
	one.command = &exec.Cmd{
		Path: r.program, Args: []string{"main"}, Dir: r.taskDir, Env: r.callEnvironment(head),
		Stdin: input, Stdout: writes[0], Stderr: writes[1], SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := one.command.Start(); err != nil {
		return nil, errors.Join(err, one.reads[0].Close(), one.reads[1].Close())
	}
	go one.collect(r.load.MaxResultBytes)
	go one.carry(r)
	return one, nil
}

// callEnvironment tells a program what a handler finds in its context.
func (r *runner) callEnvironment(head *wire.InvokeHead) []string {
	deadline := time.Now().Add(time.Duration(head.RemainingMS) * time.Millisecond)
	return append(r.env[:len(r.env):len(r.env)],
		"NIMBUS_INVOCATION_ID="+head.ID,
		"NIMBUS_REQUEST_ID="+head.RequestID,
		"NIMBUS_ALIAS="+head.Alias,
		"NIMBUS_ATTEMPT="+strconv.Itoa(head.Attempt),
		"NIMBUS_TRIGGER_TYPE="+head.TriggerType,
		"NIMBUS_DEADLINE_MS="+strconv.FormatInt(deadline.UnixMilli(), 10),
		"NIMBUS_FUNCTION_ID="+r.load.FunctionID,
		"NIMBUS_FUNCTION_NAME="+r.load.FunctionName,
		"NIMBUS_FUNCTION_VERSION="+strconv.Itoa(r.load.FunctionVersion),
		"NIMBUS_MEMORY_LIMIT_MB="+strconv.Itoa(r.load.MemoryMB),
		"NIMBUS_TIMEOUT_SEC="+strconv.Itoa(r.load.TimeoutSec),
	)
}

// collect reads stdout; a program that writes more than any result may have is ended.
func (o *run) collect(limit int) {
	defer func() { o.ended <- struct{}{} }()
	buffer := make([]byte, chunk)
	for {
		n, err := o.reads[0].Read(buffer)
		o.stdout.Write(buffer[:n])
		if o.stdout.Len() > limit+chunk {
			o.killGroup()
			return
		}
		if err != nil {
			return
		}
	}
}

// carry passes stderr on as it comes and keeps its end.
func (o *run) carry(r *runner) {
	defer func() { o.ended <- struct{}{} }()
	buffer := make([]byte, chunk)
	for {
		n, err := o.reads[1].Read(buffer)
		if n > 0 {
			r.link.Mu.Lock()
			r.out.Write(1, buffer[:n])
			r.link.Mu.Unlock()
			o.tail = append(o.tail, buffer[:n]...)
			o.tail = o.tail[max(0, len(o.tail)-tailBytes):]
		}
		if err != nil {
			return
		}
	}
}

// wait returns when the program has ended and its output has been read. What it started ends with it.
func (o *run) wait() *os.ProcessState {
	_ = o.command.Wait()
	o.killGroup()
	for _, read := range o.reads {
		_ = read.SetReadDeadline(time.Now().Add(afterEnd))
	}
	<-o.ended
	<-o.ended
	for _, read := range o.reads {
		_ = read.Close()
	}
	return o.command.ProcessState
}

func (o *run) killGroup() { _ = syscall.Kill(-o.command.Process.Pid, syscall.SIGKILL) }

func (o *run) result() []byte { return bytes.TrimSpace(o.stdout.Bytes()) }

// verdict is what was wrong with the run; nil for a result.
func (o *run) verdict(state *os.ProcessState, limit int, module string) *wire.FaultHead {
	if len(o.result()) > limit {
		return &wire.FaultHead{ErrorType: "ResultTooLarge",
			Error: fmt.Sprintf("The result is larger than the %d bytes that are allowed.", limit)}
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		if status.Signal() == syscall.SIGKILL {
			// Whoever did that (the kernel, for want of memory) means the sandbox: the driver finds out.
			killedBy(syscall.SIGKILL)
		}
		return &wire.FaultHead{ErrorType: "ProcessCrashed",
			Error: "The program was ended by " + signalName(status.Signal()) + "."}
	}
	if code := status.ExitStatus(); code != 0 {
		return o.exited(code, module)
	}
	if result := o.result(); !json.Valid(result) {
		return notJSON(result)
	}
	return nil
}

// exited is a non-zero exit: a panic when stderr ends with one.
func (o *run) exited(code int, module string) *wire.FaultHead {
	if report := crash.Parse("", string(o.tail), module); report != nil && code == 2 {
		return &wire.FaultHead{Error: report.Message, ErrorType: report.Type, StackTrace: report.Stack}
	}
	message := fmt.Sprintf("The program exited with code %d.", code)
	if said := strings.TrimSpace(string(o.tail[max(0, len(o.tail)-tailShown):])); said != "" {
		message += " It said: " + strings.ToValidUTF8(said, "\ufffd")
	}
	return &wire.FaultHead{Error: message, ErrorType: "ProcessExited"}
}

func notJSON(result []byte) *wire.FaultHead {
	message := "The program wrote nothing to its standard output; it must write its result there, as JSON."
	if len(result) > 0 {
		begin := strings.ToValidUTF8(string(result[:min(len(result), shownBytes)]), "\ufffd")
		message = "What the program wrote to its standard output is not one JSON value; " +
			"logs belong on standard error. It begins: " + begin
	}
	return &wire.FaultHead{ErrorType: "ResultNotJson", Error: message}
}

func signalName(signal syscall.Signal) string {
	names := map[syscall.Signal]string{
		syscall.SIGABRT: "SIGABRT", syscall.SIGSEGV: "SIGSEGV", syscall.SIGTERM: "SIGTERM", syscall.SIGBUS: "SIGBUS",
		syscall.SIGILL: "SIGILL", syscall.SIGFPE: "SIGFPE", syscall.SIGINT: "SIGINT", syscall.SIGTRAP: "SIGTRAP",
	}
	if name, ok := names[signal]; ok {
		return name
	}
	return "signal " + strconv.Itoa(int(signal))
}

// peakOf is the most memory the program held, in MiB.
func peakOf(state *os.ProcessState) float64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return wire.Round(float64(usage.Maxrss) / 1024)
}
