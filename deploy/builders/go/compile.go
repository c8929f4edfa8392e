package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	vendorHint = "Modules are taken from vendor/ only: run `go mod vendor` in the project and upload it with that folder" +
		", or ask the operator for a module proxy (NIMBUS_GO_PROXY)."
	fetchHint = "The modules could not be fetched by the operator's module proxy (NIMBUS_GO_PROXY). They need not be: run " +
		"`go mod vendor` in the project and upload it with vendor/."
	singleHint = "A single file can import Go's standard library and package nimbus. For other modules upload an archive " +
		"with go.mod and vendor/."
	longestLine = 64 * 1024
)

// What the go command says when modules are missing.
var missing = []string{
	"no required module provides package", "missing go.sum entry", "module lookup disabled", "cannot find module",
	"dial tcp", "is not in std", "inconsistent vendoring", "is explicitly required in go.mod, but not marked",
	"updates to go.mod needed",
}

// compile runs the go command; its messages go to stderr with the user's names of files.
func compile(at *places, p *plan) error {
	command := exec.Command(filepath.Join(at.goroot, "bin", "go"), "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid=", "-o", at.output, p.target)
	command.Dir = at.source
	command.Env = environment(at, p)
	output, err := command.StderrPipe()
	if err != nil {
		return err
	}
	command.Stdout = nil
	if err := command.Start(); err != nil {
		return err
	}
	lacking := false
	lines := bufio.NewReaderSize(output, longestLine)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			break
		}
		text := cleaned(string(line), at)
		if text == "" {
			continue
		}
		for _, sign := range missing {
			lacking = lacking || strings.Contains(text, sign)
		}
		fmt.Fprintln(os.Stderr, text)
	}
	return verdict(command.Wait(), lacking, p)
}

func verdict(err error, lacking bool, p *plan) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return err
	case !exit.Exited():
		return userErrorf("The compiler was killed (%s).", exit)
	case lacking && p.module == defaultModule && !p.vendor:
		return userErrorf("%s", singleHint)
	case lacking && mayFetch(p):
		return userErrorf("%s", fetchHint)
	case lacking:
		return userErrorf("%s", vendorHint)
	}
	return userErrorf("")
}

// mayFetch tells whether modules come from elsewhere than vendor/.
func mayFetch(p *plan) bool { return !p.vendor && setting("GOPROXY", "off") != "off" }

// environment is all that the go command gets: nothing of the user's choice is in it.
func environment(at *places, p *plan) []string {
	mode := "-mod=readonly"
	proxy := setting("GOPROXY", "off")
	if p.vendor {
		mode, proxy = "-mod=vendor", "off"
	} else if mayFetch(p) {
		mode = "-mod=mod -modcacherw" // so that everything can be removed afterwards
	}
	list := []string{
		"PATH=/usr/bin:/bin", "HOME=" + at.home, "GOPATH=" + at.home, "GOROOT=" + at.goroot, "GOCACHE=" + at.cache,
		"GOENV=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOVCS=*:off", "CGO_ENABLED=0", "GOOS=linux",
		"GOFLAGS=" + mode, "TMPDIR=" + at.home,
	}
	if proxy != "default" {
		list = append(list, "GOPROXY="+proxy)
	}
	for _, name := range []string{"GOSUMDB", "GONOSUMDB", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(name); value != "" {
			list = append(list, name+"="+value)
		}
	}
	return list
}

// cleaned is a line of the compiler's as the user knows it: without our folders, packages' headings and "./".
func cleaned(line string, at *places) string {
	if strings.HasPrefix(line, "# ") {
		return ""
	}
	line = strings.ReplaceAll(line, at.source+string(filepath.Separator), "")
	line = strings.ReplaceAll(line, at.goroot+string(filepath.Separator), "$GOROOT/")
	return strings.TrimPrefix(line, "./")
}
