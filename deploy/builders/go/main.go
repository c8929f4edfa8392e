// The Go builder: a tar of sources on stdin, the artifact (a gzipped tar) on stdout, the compiler's log on stderr.
// Exit code 1: the user's code is to blame; anything else but 0: the builder is.
//
// Environment: NIMBUS_HANDLER (as the function has it), GOPROXY (where modules may come from; off: only vendor/),
// and where things are, with the image's places as default: NIMBUS_BUILD_DIR (empty, writable), NIMBUS_GOROOT (a Go
// with package nimbus in its src), NIMBUS_GOCACHE (a writable build cache; none: one is made that starts with what
// NIMBUS_GOCACHE_BASE has).
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// userError is a fault of the function's source; its text is for the user.
type userError struct{ text string }

func (e *userError) Error() string { return e.text }

func userErrorf(format string, args ...any) error { return &userError{fmt.Sprintf(format, args...)} }

// places are the folders of one build.
type places struct{ source, home, cache, goroot, output string }

func main() {
	err := run()
	var user *userError
	switch {
	case errors.As(err, &user):
		if user.text != "" {
			fmt.Fprintln(os.Stderr, user.text)
		}
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "The builder failed:", err)
		os.Exit(2)
	}
}

func run() error {
	at, err := prepare()
	if err != nil {
		return err
	}
	if err := unpack(os.Stdin, at.source); err != nil {
		return err
	}
	plan, err := inspect(at.source, setting("NIMBUS_HANDLER", ""))
	if err != nil {
		return err
	}
	if err := plan.complete(at.source); err != nil {
		return err
	}
	if err := compile(at, plan); err != nil {
		return err
	}
	return pack(os.Stdout, at.output, plan)
}

// prepare makes the folders.
func prepare() (*places, error) {
	root := setting("NIMBUS_BUILD_DIR", "/work")
	at := &places{
		source: filepath.Join(root, "src"),
		home:   filepath.Join(root, "home"),
		output: filepath.Join(root, "main"),
		goroot: setting("NIMBUS_GOROOT", "/opt/nimbus/go"),
		cache:  setting("NIMBUS_GOCACHE", ""),
	}
	// Without this note the go command leaves a process behind that counts how it is used.
	telemetry := filepath.Join(at.home, ".config", "go", "telemetry")
	for _, folder := range []string{at.source, telemetry} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o644); err != nil {
		return nil, err
	}
	if at.cache != "" {
		return at, nil
	}
	at.cache = filepath.Join(root, "cache")
	if err := linkTree(setting("NIMBUS_GOCACHE_BASE", "/opt/nimbus/cache"), at.cache); err != nil {
		return nil, err
	}
	// When the cache was last cleaned: now, or the go command would throw away what is older than a few days.
	trimmed := filepath.Join(at.cache, "trim.txt")
	if err := os.Remove(trimmed); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return at, os.WriteFile(trimmed, []byte(strconv.FormatInt(time.Now().Unix(), 10)), 0o644)
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// linkTree makes `to` a folder like `from` whose files are links: Go's cache then has everything that was compiled
// with the image and takes what is new. Copied it would cost half a second and its size in memory.
func linkTree(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		source, target := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if entry.IsDir() {
			err = linkTree(source, target)
		} else {
			err = os.Symlink(source, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
