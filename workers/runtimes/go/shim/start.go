// Package shim serves a handler: it is compiled into the user's program and answers frames itself, so that between a
// call and the handler there is no other process. Only the program that the builder writes calls it.
//
// The runner that starts the program gives it the descriptors below and stays its parent, to say what it died of.
package shim

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"nimbus/logs"
	"nimbus/wire"
)

const (
	stackShare  = 4 // a goroutine's stack may take this part of the memory
	least       = 64 * 1024 * 1024
	memoryShare = 0.9
)

// process is what all of the shim works on; nil when the program was not started by a runner.
var process *shim

type shim struct {
	link   *wire.Link
	page   *wire.Page
	load   wire.LoadHead
	out    *logs.Output
	pipes  *logs.Pipes
	writes [2]int      // our own copies of the write ends: the user may close theirs
	std    [2]*os.File // os.Stdout and os.Stderr as they were
	peak   *wire.Peak
	began  time.Time
}

// Before the user's own packages are initialised: what they print there is carried away, what they die of is kept.
func init() {
	var stat syscall.Stat_t
	if syscall.Fstat(wire.LinkFD, &stat) != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
		return
	}
	for fd := wire.LinkFD; fd < wire.FirstFree; fd++ {
		syscall.CloseOnExec(fd)
	}
	page, err := wire.MapPage(wire.PageFD)
	if err != nil {
		os.Exit(wire.ExitDisconnected)
	}
	s := &shim{page: page, link: &wire.Link{FD: wire.LinkFD, Page: page}, std: [2]*os.File{os.Stdout, os.Stderr}}
	s.began, s.peak, s.out = time.Now(), wire.NewPeak(), logs.New(s.link)
	s.readHead()
	for stream := range s.writes {
		s.writes[stream] = s.duplicate(stream + 1)
	}
	crash := os.NewFile(wire.CrashFD, "crash")
	_ = debug.SetCrashOutput(crash, debug.CrashOptions{})
	_ = crash.Close() // the runtime has a copy of its own
	s.pipes = logs.NewPipes(s.out, s.page, wire.OutFD, wire.ErrFD)
	s.pipes.Pump()
	process = s
}

func (s *shim) readHead() {
	file := os.NewFile(wire.HeadFD, "head")
	data, err := io.ReadAll(file)
	if err != nil || json.Unmarshal(data, &s.load) != nil {
		os.Exit(wire.ExitDisconnected)
	}
	_ = file.Close()
	s.out.SetLimit(s.load.MaxLogBytes)
	memory := s.load.MemoryMB * 1024 * 1024
	debug.SetMaxStack(max(memory/stackShare, least/stackShare))
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // the user has not set GOMEMLIMIT
		debug.SetMemoryLimit(int64(float64(memory) * memoryShare))
	}
}

func (s *shim) duplicate(fd int) int {
	const dupCloexec = 1030 // F_DUPFD_CLOEXEC
	copied, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), dupCloexec, wire.FirstFree)
	if errno != 0 {
		os.Exit(wire.ExitDisconnected)
	}
	return int(copied)
}

// restore makes stdout and stderr ours again, should the user have closed or replaced them. A few microseconds.
func (s *shim) restore() {
	for stream, write := range s.writes {
		fd := stream + 1
		var own, now syscall.Stat_t
		if syscall.Fstat(write, &own) != nil {
			continue // the user closed our copy too
		}
		if syscall.Fstat(fd, &now) != nil || now.Ino != own.Ino || now.Dev != own.Dev {
			if syscall.Dup3(write, fd, 0) == nil {
				s.std[stream] = os.NewFile(uintptr(fd), logs.Names[stream])
			}
		}
	}
	os.Stdout, os.Stderr = s.std[0], s.std[1]
}
