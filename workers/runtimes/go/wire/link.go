// Package wire is the runner's end of the connection to the driver: see PROTOCOL.md beside this folder.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"sync"
	"syscall"
)

// Types of frames.
const (
	Hello byte = iota + 1
	Load
	Loaded
	Invoke
	Log
	Result
	Fault
	Ping
	Pong
)

// ExitDisconnected is the exit code when the connection is gone, which ends the runner.
const ExitDisconnected = 76

const (
	prefixBytes = 9
	oneWrite    = 64 * 1024
	maxFrame    = 16 * 1024 * 1024
)

// LoadHead is the header of a LOAD frame.
type LoadHead struct {
	Handler         string            `json:"handler"`
	ArtifactKind    string            `json:"artifact_kind"`
	Files           string            `json:"files"`
	Env             map[string]string `json:"env"`
	FunctionName    string            `json:"function_name"`
	FunctionVersion int               `json:"function_version"`
	FunctionID      string            `json:"function_id"`
	MemoryMB        int               `json:"memory_mb"`
	TimeoutSec      int               `json:"timeout_sec"`
	MaxResultBytes  int               `json:"max_result_bytes"`
	MaxLogBytes     int               `json:"max_log_bytes"`
}

// InvokeHead is the header of an INVOKE frame.
type InvokeHead struct {
	ID          string `json:"id"`
	RequestID   string `json:"request_id"`
	RemainingMS int64  `json:"remaining_ms"`
	Attempt     int    `json:"attempt"`
	Alias       string `json:"alias"`
	TriggerType string `json:"trigger_type"`
}

// FaultHead is the header of a FAULT frame. An empty ID: the load failed.
type FaultHead struct {
	ID         string   `json:"id,omitempty"`
	Error      string   `json:"error"`
	ErrorType  string   `json:"error_type"`
	StackTrace []string `json:"stack_trace"`
	DurationMS float64  `json:"duration_ms"`
	MemoryMB   float64  `json:"memory_mb"`
	Fatal      bool     `json:"fatal"`
}

// ResultHead is the header of a RESULT frame.
type ResultHead struct {
	ID         string  `json:"id"`
	DurationMS float64 `json:"duration_ms"`
	MemoryMB   float64 `json:"memory_mb"`
}

// Link is a connected socket. Whatever is sent, and whatever must stay in order with it, holds Mu.
//
// It reads and writes by plain system calls: a goroutine that waits in the kernel is awake sooner than one that waits
// for the runtime's poller.
type Link struct {
	Mu   sync.Mutex
	FD   int
	Page *Page // where a Link tells that a frame is half sent; may be nil
	in   []byte
}

// Send writes one frame. Holds Mu itself; ends the process when the driver is gone.
func (l *Link) Send(kind byte, head any, body []byte) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.SendLocked(kind, head, body)
}

// SendLocked is Send for one who holds Mu.
func (l *Link) SendLocked(kind byte, head any, body []byte) {
	header, err := json.Marshal(head)
	if err != nil {
		os.Exit(ExitDisconnected)
	}
	frame := make([]byte, prefixBytes, prefixBytes+len(header)+min(len(body), oneWrite))
	binary.BigEndian.PutUint32(frame, uint32(5+len(header)+len(body)))
	frame[4] = kind
	binary.BigEndian.PutUint32(frame[5:], uint32(len(header)))
	frame = append(frame, header...)
	if len(body) <= oneWrite {
		l.writeAtOnce(append(frame, body...))
		return
	}
	l.Page.sending(true)
	l.write(frame)
	l.write(body)
	l.Page.sending(false)
}

// writeAtOnce writes a frame whole where the socket has room: a process that dies meanwhile has sent it or has not, and
// the page needs no note, which a dying process might have no time to take back.
func (l *Link) writeAtOnce(frame []byte) {
	n, err := syscall.SendmsgN(l.FD, frame, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	if n == len(frame) {
		return
	}
	if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
		os.Exit(ExitDisconnected)
	}
	l.Page.sending(true)
	l.write(frame[max(n, 0):])
	l.Page.sending(false)
}

// Receive gives the next frame. The head and body are valid until the next Receive. Ends the process when there is
// none.
func (l *Link) Receive() (kind byte, head, body []byte) {
	var prefix [prefixBytes]byte
	l.read(prefix[:])
	size := int(binary.BigEndian.Uint32(prefix[:]))
	headSize := int(binary.BigEndian.Uint32(prefix[5:]))
	if size < 5 || size > maxFrame || headSize > size-5 {
		os.Exit(ExitDisconnected)
	}
	// Kept from frame to frame while it is small.
	if rest := size - 5; cap(l.in) < rest || cap(l.in) > 1<<20 {
		l.in = make([]byte, max(rest, 4096))
	}
	data := l.in[:size-5]
	l.read(data)
	return prefix[4], data[:headSize], data[headSize:]
}

func (l *Link) read(data []byte) {
	for len(data) > 0 {
		n, err := syscall.Read(l.FD, data)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			os.Exit(ExitDisconnected)
		}
		data = data[n:]
	}
}

func (l *Link) write(data []byte) {
	for len(data) > 0 {
		n, err := syscall.Write(l.FD, data)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			os.Exit(ExitDisconnected)
		}
		data = data[n:]
	}
}

// Raw is a header to be sent as it came.
func Raw(head []byte) any {
	if len(head) == 0 {
		return struct{}{}
	}
	return json.RawMessage(head)
}
