package main

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"nimbus/crash"
	"nimbus/wire"
)

// pipeBytes is more than a pipe holds.
const pipeBytes = 1 << 20

// becomeHandler starts the user's program with the connection and everything else that package shim expects, waits for
// its end and ends in the same way. It does not return unless the program can't be started.
//
// During calls this process sleeps. When the other dies it sends what it had printed and, after a panic of any
// goroutine or an error of Go's runtime, the FAULT that the dead can't send.
func (r *runner) becomeHandler() {
	began := time.Now()
	page, pageFD, err := wire.NewPage()
	if err != nil {
		fail("no shared memory", err)
	}
	crashFD, err := wire.Memory("nimbus-crash")
	if err != nil {
		fail("no memory for a crash", err)
	}
	headFD := memoryOf(r.head)
	var stdout, stderr [2]int
	if err := syscall.Pipe2(stdout[:], syscall.O_CLOEXEC); err != nil {
		fail("no pipe", err)
	}
	if err := syscall.Pipe2(stderr[:], syscall.O_CLOEXEC); err != nil {
		fail("no pipe", err)
	}
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		fail("no null device", err)
	}
	files := make([]uintptr, wire.HeadFD+1)
	for place, fd := range map[int]int{
		0: null, 1: stdout[1], 2: stderr[1], wire.LinkFD: r.link.FD, wire.OutFD: stdout[0], wire.ErrFD: stderr[0],
		wire.CrashFD: crashFD, wire.PageFD: pageFD, wire.HeadFD: headFD,
	} {
		files[place] = uintptr(fd)
	}
	pid, err := syscall.ForkExec(r.program, []string{"main"}, &syscall.ProcAttr{Dir: r.taskDir, Env: r.env, Files: files})
	if err != nil {
		r.refuse("ProgramNotStarted", "The function's program can't be started: "+err.Error()+".")
		return
	}
	for _, fd := range []int{null, stdout[1], stderr[1], headFD} {
		_ = syscall.Close(fd)
	}
	go endWithDriver(r.link.FD, pid)
	status := waitFor(pid)
	r.sayWhatHappened(page, crashFD, stdout[0], stderr[0], began)
	endLike(status)
}

// sayWhatHappened sends the last of the output and, after a crash, the FAULT. Nothing when the process died while it
// was sending a frame: nobody could tell ours from its rest.
func (r *runner) sayWhatHappened(page *wire.Page, crashFD, stdout, stderr int, began time.Time) {
	phase, id, module, startedNS, sending := page.Read()
	if sending || phase == wire.Idle {
		return
	}
	if phase == wire.Calling {
		r.out.Begin(id)
		began = time.Unix(0, startedNS)
	} else {
		module = r.made.Module
	}
	_ = r.rest(page, 0, stdout)
	said := r.rest(page, 1, stderr)
	report := crash.Parse(said, contents(crashFD), module)
	if report == nil {
		r.link.Mu.Lock()
		r.out.End()
		r.link.Mu.Unlock()
		return
	}
	r.answer(wire.Fault, wire.FaultHead{
		ID: id, Error: report.Message, ErrorType: report.Type, StackTrace: report.Stack,
		DurationMS: milliseconds(began), Fatal: true,
	}, nil)
}

// rest passes on what the process wrote and did not send itself: the line it had begun, what it had just read, what is
// in the pipe. Returns all that is known of the stream.
func (r *runner) rest(page *wire.Page, stream, fd int) string {
	tail := page.Tail(stream)
	begun := tail[strings.LastIndexByte(tail, '\n')+1:]
	_ = syscall.SetNonblock(fd, true)
	data := make([]byte, pipeBytes)
	n, _ := syscall.Read(fd, data)
	unsent := page.Unheard(stream) + string(data[:max(0, n)])
	r.link.Mu.Lock()
	defer r.link.Mu.Unlock()
	r.out.Write(stream, []byte(begun+unsent))
	return tail + unsent
}

// memoryOf is a descriptor to read these bytes from.
func memoryOf(data []byte) int {
	fd, err := wire.Memory("nimbus-data")
	if err != nil {
		fail("no memory for a message", err)
	}
	for rest := data; len(rest) > 0; {
		n, err := syscall.Write(fd, rest)
		if err != nil {
			fail("no memory for a message", err)
		}
		rest = rest[n:]
	}
	if _, err := syscall.Seek(fd, 0, io.SeekStart); err != nil {
		fail("no memory for a message", err)
	}
	return fd
}

func contents(fd int) string {
	data := make([]byte, 256*1024)
	n, err := syscall.Pread(fd, data, 0)
	if err != nil {
		return ""
	}
	return string(data[:n])
}

func waitFor(pid int) syscall.WaitStatus {
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}

// endWithDriver kills the user's program when the driver hangs up: a sandbox does not outlive its worker.
func endWithDriver(fd, pid int) {
	hungUp(fd)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	os.Exit(wire.ExitDisconnected)
}

// endLike ends this process as the user's ended: the driver asks the system how.
func endLike(status syscall.WaitStatus) {
	if status.Signaled() {
		killedBy(status.Signal())
	}
	os.Exit(status.ExitStatus())
}

func fail(what string, err error) {
	os.Stderr.WriteString("the runner can't start the function: " + what + ": " + err.Error() + "\n")
	os.Exit(1)
}
