package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

const (
	// In the user's own package: makes the shim ready before the package's variables and init functions.
	early = "package %s\n\nimport _ \"nimbus/shim\"\n"
	// Of package main the entry is a part, any other package is imported by it.
	entryInside  = "package main\n\nimport nimbusShim \"nimbus/shim\"\n\nfunc main() { nimbusShim.Serve(%s, %q) }\n"
	entryOutside = "package main\n\nimport (\n\tuser %q\n\t\"nimbus/shim\"\n)\n\nfunc main() { shim.Serve(user.%s, %q) }\n"
)

var modulePath = regexp.MustCompile(`(?m)^\s*module\s+("[^"]+"|\x60[^\x60]+\x60|[^\s/][^\s]*)`)

// moduleOf is the path that go.mod gives; a name of ours where there is no go.mod.
func moduleOf(folder string) string {
	text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return defaultModule
	}
	match := modulePath.FindSubmatch(text)
	if match == nil {
		return defaultModule
	}
	if path, err := strconv.Unquote(string(match[1])); err == nil {
		return path
	}
	return string(match[1])
}

// complete adds to the sources what they lack: a module, and the entry of a handler.
func (p *plan) complete(folder string) error {
	module := filepath.Join(folder, "go.mod")
	if _, err := os.Stat(module); err != nil {
		if err := os.WriteFile(module, []byte("module "+p.module+"\n\ngo 1.24\n"), 0o644); err != nil {
			return err
		}
	}
	if p.form != formHandler {
		return nil
	}
	entry := filepath.Join(folder, entryName+".go")
	text := fmt.Sprintf(entryInside, p.handler, p.module)
	if p.pkg != "main" {
		if err := os.WriteFile(entry, []byte(fmt.Sprintf(early, p.pkg)), 0o644); err != nil {
			return err
		}
		text = fmt.Sprintf(entryOutside, p.module, p.handler, p.module)
		entry = filepath.Join(folder, entryName, "main.go")
		if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(entry, []byte(text), 0o644)
}
