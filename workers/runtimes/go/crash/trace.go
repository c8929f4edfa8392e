// Package crash reads what Go's runtime prints when a program dies of a panic or a fatal error.
package crash

import (
	"regexp"
	"strings"
)

const maxFrames = 50

// Report is one death.
type Report struct {
	Type    string // "panic" or "fatal error"
	Message string
	Stack   []string // the user's frames, outermost first
}

var (
	head  = regexp.MustCompile(`(?m)^(panic|fatal error): `)
	place = regexp.MustCompile(`^\t(.+?):(\d+)(?: \+0x[0-9a-f]+.*)?$`)
	state = regexp.MustCompile(`(?m)^goroutine \d+ .*:$`)
)

// Parse finds the report in what a process wrote to stderr, of which the last may be missing, and in what its runtime
// wrote to the file for crashes, where a fatal error's first line is missing; nil when there is none.
func Parse(stderr, crash, module string) *Report {
	text := crash
	at := head.FindStringSubmatchIndex(text)
	if at == nil && crash != "" {
		if all := head.FindAllStringIndex(stderr, -1); all != nil {
			first, _, _ := strings.Cut(stderr[all[len(all)-1][0]:], "\n")
			text = first + "\n" + crash
			at = head.FindStringSubmatchIndex(text)
		}
	}
	if at == nil {
		return nil
	}
	report := &Report{Type: text[at[2]:at[3]]}
	said, trace := text[at[1]:], ""
	if begin := state.FindStringIndex(said); begin != nil {
		said, trace = said[:begin[0]], said[begin[1]:]
	}
	said, _, _ = strings.Cut(said, "\n[signal ")
	said, _, _ = strings.Cut(said, "\n\truntime stack:")
	said, _, _ = strings.Cut(said, "\n\nruntime stack:")
	report.Message = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(said), " [recovered]"))
	report.Stack = frames(trace, module)
	return report
}

// frames reads "function(arguments)" and "\tfile:line +0x1d", pair by pair, of the first goroutine.
func frames(trace, module string) []string {
	trace, _, _ = strings.Cut(strings.TrimPrefix(trace, "\n"), "\n\n")
	lines := strings.Split(trace, "\n")
	var found []string
	for i := 0; i+1 < len(lines); i++ {
		match := place.FindStringSubmatch(lines[i+1])
		if match == nil {
			continue
		}
		function, created := strings.CutPrefix(lines[i], "created by ")
		if created {
			function, _, _ = strings.Cut(function, " in goroutine ")
		} else if open := strings.LastIndexByte(function, '('); open > 0 {
			function = function[:open]
		}
		if frame := Frame(function, match[1], match[2], module); frame != "" {
			found = append(found, frame)
		}
	}
	return Outermost(found)
}

// Frame is how a frame is shown: "handler.go:12, in inner"; empty when it is not the user's. Without a module (a
// program that was compiled elsewhere) only the language's own frames are left out.
func Frame(function, file, line, module string) string {
	name := function[strings.LastIndexByte(function, '/')+1:]
	_, name, _ = strings.Cut(name, ".")
	if module == "" {
		for _, own := range []string{"runtime.", "runtime/", "internal/", "reflect.", "syscall.", "nimbus/"} {
			if strings.HasPrefix(function, own) {
				return ""
			}
		}
		return file + ":" + line + ", in " + name
	}
	inside, ok := strings.CutPrefix(file, module+"/")
	if !ok || strings.HasPrefix(inside, "vendor/") || strings.HasPrefix(inside, "nimbus_main") {
		return ""
	}
	return inside + ":" + line + ", in " + name
}

// Outermost turns innermost-first frames round, and leaves out the middle of very many.
func Outermost(frames []string) []string {
	if len(frames) > maxFrames {
		half := maxFrames / 2
		cut := append([]string{}, frames[:half]...)
		cut = append(cut, "… more frames")
		frames = append(cut, frames[len(frames)-half:]...)
	}
	turned := make([]string, 0, len(frames))
	for i := len(frames) - 1; i >= 0; i-- {
		turned = append(turned, frames[i])
	}
	return turned
}
