package wire

import (
	"bytes"
	"math"
	"strconv"
	"syscall"
)

// Peak measures the peak of this process's resident memory over one call (Linux). Its files stay open: a call must
// not pay for opening them, and may not be able to.
type Peak struct{ refs, status int }

// NewPeak opens what it needs; where that fails, the measure is 0.
func NewPeak() *Peak {
	refs, err := syscall.Open("/proc/self/clear_refs", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		refs = -1
	}
	status, err := syscall.Open("/proc/self/status", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		status = -1
	}
	return &Peak{refs, status}
}

// Reset starts a new measurement: the high-water mark falls to what is resident now.
func (p *Peak) Reset() {
	_, _ = syscall.Pwrite(p.refs, []byte("5"), 0)
}

// MB is the peak since Reset, in MiB.
func (p *Peak) MB() float64 {
	var data [2048]byte
	n, err := syscall.Pread(p.status, data[:], 0)
	if err != nil {
		return 0
	}
	_, after, found := bytes.Cut(data[:n], []byte("VmHWM:"))
	number, _, ok := bytes.Cut(after, []byte("kB"))
	if !found || !ok {
		return 0
	}
	kb, err := strconv.ParseFloat(string(bytes.TrimSpace(number)), 64)
	if err != nil {
		return 0
	}
	return Round(kb / 1024)
}

// Round keeps two digits.
func Round(value float64) float64 { return math.Round(value*100) / 100 }
