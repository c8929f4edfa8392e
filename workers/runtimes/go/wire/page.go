package wire

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Phases of a handler's process.
const (
	Loading uint32 = iota
	Idle
	Calling
)

// ABI counts up when a runner and a handler that was compiled before can't work together any more: with every change of
// the descriptors or of a Page.
const ABI = 1

// Marker is in every program that was linked with the shim, and ends with its ABI: so a handler that was compiled
// elsewhere is told from a program that reads stdin.
const Marker = "nimbus-handler-shim/1"

const (
	pageBytes = readsAt + 2*readBytes
	phaseAt   = 0
	sendingAt = 4
	startedAt = 8
	textsAt   = 64
	textBytes = 2032 // each with its length in front
	readsAt   = 8192
	readBytes = 64 * 1024 // of each stream
)

// Texts in a page.
const (
	idText = iota
	moduleText
	tailTexts // of stdout, and after it of stderr
)

// Page is memory that a handler's process shares with the runner that started it, so that the runner can say what the
// process was doing when it died.
type Page struct{ mem []byte }

// NewPage makes one; the descriptor is what the other process maps.
func NewPage() (*Page, int, error) {
	fd, err := Memory("nimbus-page")
	if err != nil {
		return nil, -1, err
	}
	if err := syscall.Ftruncate(fd, pageBytes); err != nil {
		return nil, -1, err
	}
	page, err := MapPage(fd)
	return page, fd, err
}

// MapPage maps the page behind a descriptor.
func MapPage(fd int) (*Page, error) {
	mem, err := syscall.Mmap(fd, 0, pageBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return &Page{mem}, err
}

// Begin tells that a call has begun.
func (p *Page) Begin(id string, at int64) {
	p.put(idText, id)
	p.put(tailTexts, "")
	p.put(tailTexts+1, "")
	binary.NativeEndian.PutUint64(p.mem[startedAt:], uint64(at))
	p.word(phaseAt).Store(Calling)
}

// Rest tells that no call goes on.
func (p *Page) Rest() { p.word(phaseAt).Store(Idle) }

// Module tells which module the user's files are in.
func (p *Page) Module(name string) { p.put(moduleText, name) }

// Said keeps the last of what was written on a stream, since the call began.
func (p *Page) Said(stream int, data []byte) {
	tail := p.Tail(stream) + string(data[max(0, len(data)-textBytes):])
	p.put(tailTexts+stream, tail[max(0, len(tail)-textBytes+2):])
}

// Tail is the last of what was written on a stream.
func (p *Page) Tail(stream int) string { return p.text(tailTexts + stream) }

// Buffer is where to read a stream into, and to be cleared once that has been dealt with: when Go's runtime ends a
// process it stops all goroutines first, perhaps one that has just read why.
func (p *Page) Buffer(stream int) []byte {
	at := readsAt + stream*readBytes
	return p.mem[at : at+readBytes : at+readBytes]
}

// Unheard is what has been read from a stream and not been dealt with.
func (p *Page) Unheard(stream int) string {
	text, _, _ := bytes.Cut(p.Buffer(stream), []byte{0})
	return string(text)
}

// Read gives what was told last. The texts are bounded, whatever the user's code did to the page.
func (p *Page) Read() (phase uint32, id, module string, startedNS int64, sending bool) {
	return p.word(phaseAt).Load(), p.text(idText), p.text(moduleText),
		int64(binary.NativeEndian.Uint64(p.mem[startedAt:])), p.word(sendingAt).Load() != 0
}

func (p *Page) sending(now bool) {
	if p == nil {
		return
	}
	value := uint32(0)
	if now {
		value = 1
	}
	p.word(sendingAt).Store(value)
}

func (p *Page) word(at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&p.mem[at])) }

func (p *Page) put(which int, text string) {
	at := textsAt + which*textBytes
	n := copy(p.mem[at+2:at+textBytes], text)
	binary.NativeEndian.PutUint16(p.mem[at:], uint16(n))
}

func (p *Page) text(which int) string {
	at := textsAt + which*textBytes
	n := min(int(binary.NativeEndian.Uint16(p.mem[at:])), textBytes-2)
	return string(p.mem[at+2 : at+2+n])
}

// The number of memfd_create(2), which package syscall has no name for.
var memfdCreate = map[string]uintptr{"amd64": 319, "arm64": 279}

// Memory makes a file that has no name and lies in memory; closed on exec.
func Memory(name string) (int, error) {
	number, ok := memfdCreate[runtime.GOARCH]
	if !ok {
		return -1, syscall.ENOSYS
	}
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	const cloexec = 1
	fd, _, errno := syscall.Syscall(number, uintptr(unsafe.Pointer(text)), cloexec, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
