package relay

import (
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// Lineage names a log, and counts its forks.
type Lineage struct {
	ID [16]byte // made with the schema
	// Epoch rises whenever the log may have lost its last events. Ids of an epoch are
	// above all ids of earlier ones.
	Epoch int64
}

// LogValue shows the lineage in a log line.
func (l Lineage) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", hex.EncodeToString(l.ID[:])), slog.Int64("epoch", l.Epoch))
}

// batch says that the events of the log after from and up to to are exactly these.
type batch struct {
	lineage  Lineage
	from, to taskfeed.Cursor
	at       time.Time // when it was published, by the core's clock
	frames   []hub.Frame
}

// encode returns the message.
func (b *batch) encode(compress bool) []byte {
	e := newEncoder(kindBatch)
	e.lineage(b.lineage)
	e.id(b.from)
	e.id(b.to)
	e.int(b.at.UnixMicro())
	e.uint(uint64(len(b.frames)))
	body := encoder{make([]byte, 0, sizeOf(b.frames))}
	last := b.from
	for i := range b.frames {
		f := &b.frames[i]
		body.id(f.ID - last)
		last = f.ID
		body.text(f.UserID)
		body.text(f.TaskID)
		body.text(string(f.Type))
		body.int(f.Timestamp.UnixMicro())
		body.bytes(f.Bytes)
	}
	return e.body(body.b, compress)
}

// frameOverhead is the most that a frame takes in a message besides its strings.
const frameOverhead = 64

func sizeOfFrame(f *hub.Frame) int {
	return len(f.UserID) + len(f.TaskID) + len(f.Type) + len(f.Bytes) + frameOverhead
}

func sizeOf(frames []hub.Frame) (sum int) {
	for i := range frames {
		sum += sizeOfFrame(&frames[i])
	}
	return sum
}

// split cuts the events of (from, to] into batches of at most limit bytes, or of one
// frame.
func (b batch) split(limit int) (parts []batch) {
	frames, to := b.frames, b.to
	for {
		n, size := 0, 0
		for n < len(frames) && (n == 0 || size+sizeOfFrame(&frames[n]) <= limit) {
			size += sizeOfFrame(&frames[n])
			n++
		}
		b.frames, b.to = frames[:n], to
		if n < len(frames) {
			b.to = frames[n-1].ID
		}
		parts = append(parts, b)
		if n == len(frames) {
			return parts
		}
		frames, b.from = frames[n:], b.to
	}
}

// decodeBatchHead reads all but the frames, of which it returns the number.
func decodeBatchHead(d *decoder) (b batch, count int) {
	b.lineage = d.lineage()
	b.from, b.to = d.id(), d.id()
	b.at = time.UnixMicro(d.int())
	count = int(d.upTo(maxBody / 6)) // a frame takes six bytes or more
	if b.to < b.from {
		d.fail()
	}
	return b, count
}

// decodeFrames reads the frames into memory, which may be used again. Their bytes are
// part of the message, or of its body when that was compressed.
func (b *batch) decodeFrames(d *decoder, count int, memory []hub.Frame) error {
	d.body()
	last := b.from
	b.frames = memory[:0]
	for range count {
		id := last + d.id()
		f := hub.Frame{ID: id, UserID: d.text(), TaskID: d.text(), Type: taskfeed.Type(d.text()), Timestamp: time.UnixMicro(d.int()), Bytes: d.bytes()}
		if d.failed || id <= last || id > b.to {
			return errMalformed
		}
		b.frames, last = append(b.frames, f), id
	}
	return d.end()
}

// beacon says how far the log has been published.
type beacon struct {
	lineage Lineage
	server  string          // which core says so
	sent    taskfeed.Cursor // everything up to it was published
	head    taskfeed.Cursor // the last event that the core knows
	at      time.Time
}

func (b *beacon) encode() []byte {
	e := newEncoder(kindBeacon)
	e.lineage(b.lineage)
	e.text(b.server)
	e.id(b.sent)
	e.id(b.head)
	e.int(b.at.UnixMicro())
	return e.b
}

func decodeBeacon(d *decoder) (beacon, error) {
	b := beacon{lineage: d.lineage(), server: d.text(), sent: d.id(), head: d.id(), at: time.UnixMicro(d.int())}
	return b, d.end()
}
