// Package logs turns what the user's code writes into LOG frames, within the call's budget.
package logs

import (
	"bytes"
	"fmt"
	"time"

	"nimbus/wire"
)

// before is how much is kept of what is written before a budget is known.
const before = 64 * 1024

// Names of the streams, by number: 0 is stdout, 1 is stderr.
var Names = [2]string{"stdout", "stderr"}

type head struct {
	ID     string `json:"id,omitempty"`
	Stream string `json:"stream"`
	AtMS   int64  `json:"at_ms"`
}

type held struct {
	stream int
	data   []byte
}

// Output sends whole lines as they come. Between calls nothing may be sent: it is held, within the same bound, for the
// next call. Everything holds the Link's lock.
type Output struct {
	link  *wire.Link
	limit int
	left  int
	full  bool
	open  bool
	id    string
	parts [2][]byte
	held  []held
}

// New gives an Output that belongs to no call yet and sends: what the load prints.
func New(link *wire.Link) *Output {
	return &Output{link: link, limit: before, left: before, open: true}
}

// SetLimit gives the budget of each call, in bytes.
func (o *Output) SetLimit(bytes int) {
	o.left += bytes - o.limit
	o.limit = bytes
}

// Begin starts a call: what was held goes first.
func (o *Output) Begin(id string) {
	o.link.Mu.Lock()
	defer o.link.Mu.Unlock()
	o.id, o.open = id, true
	late := o.held
	o.held = nil
	for _, one := range late {
		o.send(one.stream, one.data)
	}
}

// End closes a call: unfinished lines are sent. What follows is held. The caller holds the Link's lock and sends the
// call's answer before it lets go.
func (o *Output) End() {
	for stream, rest := range o.parts {
		o.parts[stream] = nil
		if len(rest) > 0 {
			o.emit(stream, rest)
		}
	}
	o.open, o.left, o.full = false, o.limit, false
}

// Write takes what came on a stream. The caller holds the Link's lock.
func (o *Output) Write(stream int, data []byte) {
	if o.full {
		return
	}
	at := bytes.LastIndexByte(data, '\n') + 1
	if at == 0 {
		o.parts[stream] = append(o.parts[stream], data...)
	} else {
		lines := append(o.parts[stream], data[:at]...)
		o.parts[stream] = append([]byte(nil), data[at:]...)
		o.emit(stream, lines)
	}
	if rest := o.parts[stream]; len(rest) > o.left {
		o.parts[stream] = nil
		o.emit(stream, rest)
	}
}

func (o *Output) emit(stream int, data []byte) {
	if o.full {
		return
	}
	if len(data) <= o.left {
		o.left -= len(data)
		o.send(stream, data)
		return
	}
	kept := data[:o.left]
	o.full, o.left = true, 0
	if len(kept) > 0 {
		o.send(stream, append(bytes.TrimSuffix(kept, []byte("\n")), '\n'))
	}
	note := fmt.Sprintf("Nimbus: output cut, more than %d bytes in one call\n", o.limit)
	o.send(1, []byte(note))
}

func (o *Output) send(stream int, data []byte) {
	if !o.open {
		o.held = append(o.held, held{stream, append([]byte(nil), data...)})
		return
	}
	o.link.SendLocked(wire.Log, head{o.id, Names[stream], time.Now().UnixMilli()}, data)
}
