package relay

import (
	"context"
	"fmt"
)

// Transport carries messages between servers. It may lose, repeat, reorder and delay
// them; it does not change their bytes. Its methods are safe for concurrent use.
type Transport interface {
	// Publish sends a message to all subscribers of a subject. It does not wait.
	Publish(subject string, message []byte) error
	// Subscribe calls handle with each message of a subject, one at a time, until stop
	// is called. Nobody changes the message later. handle must not block.
	Subscribe(subject string, handle func(message []byte)) (stop func(), err error)
	// Request sends a question to one of those who answer on a subject and returns the
	// answer.
	Request(ctx context.Context, subject string, question []byte) (answer []byte, err error)
	// Answer has answer called with a share of the questions of a subject until stop is
	// called; several calls run at the same time. stop waits for them.
	Answer(subject string, answer func(ctx context.Context, question []byte) []byte) (stop func(), err error)
	// Flush returns nil when all that was published since the last Flush has reached the
	// engine. After an error, part of it may be lost.
	Flush(ctx context.Context) error
	// MaxPayload is the greatest size of a message, in bytes.
	MaxPayload() int
}

// leastPayload is the least MaxPayload that will do: every event fits into one message.
const leastPayload = 512 << 10

// CheckPayload returns an error when a transport whose messages are at most that large
// will not do.
func CheckPayload(most int) error {
	if most < leastPayload {
		return fmt.Errorf("the engine takes messages of %d bytes at most and events need %d: raise its max_payload", most, leastPayload)
	}
	return nil
}

// messageBytes is how large a message may get on a transport that takes so many bytes, with
// room for what is around the events.
func messageBytes(most int) int { return min(most, 1<<20) - 64<<10 }

// Assembly is a transport on which all servers can be asked at the same time.
type Assembly interface {
	// Gather sends a question to all who attend a subject and calls take with each answer,
	// one at a time, until it returns false or ctx is done. It returns an error when the
	// question cannot be sent.
	Gather(ctx context.Context, subject string, question []byte, take func(answer []byte) bool) error
	// Attend has answer called with each question of a subject until stop is called;
	// several calls run at the same time. An empty answer is not sent. stop waits for the
	// calls.
	Attend(subject string, answer func(ctx context.Context, question []byte) []byte) (stop func(), err error)
	// MaxPayload is the greatest size of a message, in bytes.
	MaxPayload() int
}

// Subjects, below a prefix.
const (
	subjectLog = ".log" // batches and beacons, in the order in which a core sends them
	subjectAsk = ".ask" // questions to cores

	subjectGateways = ".gateways" // questions of cores to gateways and to each other
)
