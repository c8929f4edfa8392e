package logs

import (
	"os"
	"syscall"
)

// Pipes are the read ends of the process's own stdout and stderr, emptied into an Output.
type Pipes struct {
	out    *Output
	files  [2]*os.File
	fds    [2]int
	buffer [chunk]byte
}

// NewPipes takes over two read ends.
func NewPipes(out *Output, stdout, stderr int) *Pipes {
	p := &Pipes{out: out, fds: [2]int{stdout, stderr}}
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
	n, err := syscall.Read(p.fds[stream], p.buffer[:])
	switch {
	case n > 0:
		p.out.Write(stream, p.buffer[:n])
		return true, true
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return false, true
	default:
		return false, false
	}
}
