package main

import (
	"os"
	"strings"
)

var atImport = os.Getenv("COLOUR")

func Handler() any {
	names := []string{}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	return map[string]any{"at_import": atImport, "now": os.Getenv("COLOUR"), "names": names}
}
