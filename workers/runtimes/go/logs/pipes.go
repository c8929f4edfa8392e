package logs

import (
	"os"
	"strings"
	"syscall"
	"time"

	"nimbus/wire"
)

const (
	dying = "fatal error: "
	// So long the runtime may take to print why it ends the process.
	lastWords = 200 * time.Millisecond
)

// Pipes are the read ends of the process's own stdout and stderr, emptied into an Output.
type Pipes struct {
	out   *Output
	page  *wire.Page
	files [2]*os.File
	fds   [2]int
}

// NewPipes takes over two read ends. What is read is noted in the page, for the runner to find should the process die.
func NewPipes(out *Output, page *wire.Page, stdout, stderr int) *Pipes {
	p := &Pipes{out: out, page: page, fds: [2]int{stdout, stderr}}
	for stream, fd := range p.fds {
		_ = syscall.SetNonblock(fd, true)
		p.files[stream] = os.NewFile(uintptr(fd), Names[stream])
	}
	return p
}

// Pump carries what is written while a call goes on. The lock is taken before a byte is read, so that nothing is on
// its way when a call's answer is sent.
func (p *Pipes) Pump() {
	for stream := range p.fds {
		raw, err := p.files[stream].SyscallConn()
		if err != nil {
			continue
		}
		go func() {
			ended := false
			for !ended {
				err := raw.Read(func(uintptr) bool {
					p.out.link.Mu.Lock()
					defer p.out.link.Mu.Unlock()
					more, alive := p.take(stream)
					ended = !alive
					return more || !alive
				})
				if err != nil {
					return
				}
				// Go's runtime announces its end here only: the rest is left in the pipe, for the runner.
				if stream == 1 && strings.Contains(p.page.Tail(stream), dying) {
					time.Sleep(lastWords)
				}
			}
		}()
	}
}

// Drain takes all that is in the pipes now. The caller holds the Link's lock.
func (p *Pipes) Drain() {
	for stream := range p.fds {
		for more := true; more; {
			more, _ = p.take(stream)
		}
	}
}

// take reads once: whether something was there, and whether there can be more some day.
func (p *Pipes) take(stream int) (more, alive bool) {
	buffer := p.page.Buffer(stream)
	n, err := syscall.Read(p.fds[stream], buffer)
	switch {
	case n > 0:
		p.page.Said(stream, buffer[:n])
		p.out.Write(stream, buffer[:n])
		clear(buffer[:n])
		return true, true
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return false, true
	default:
		return false, false
	}
}
