package main

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// hungUp returns when the other side of a socket is gone. Nothing is read.
func hungUp(fd int) {
	const pollRdHup, pollErr, pollHup = 0x2000, 0x8, 0x10
	poll := struct {
		fd      int32
		events  int16
		revents int16
	}{fd: int32(fd), events: pollRdHup}
	for {
		// ppoll(2) with neither a time limit nor a signal mask; poll(2) is not on every architecture.
		_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, 0, 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || poll.revents&(pollRdHup|pollErr|pollHup) != 0 {
			return
		}
	}
}

// killedBy ends this process by a signal, as if it had not been caught.
func killedBy(signal syscall.Signal) {
	runtime.LockOSThread()
	// The runtime catches most signals: back to the kernel's own action first, rt_sigaction(2) with an empty action.
	var action [4]uint64
	const setBytes = 8
	_, _, _ = syscall.RawSyscall6(
		syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, setBytes, 0, 0)
	_ = syscall.Kill(os.Getpid(), signal)
	select {} // until it arrives
}
