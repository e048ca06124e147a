package check

import (
	"fmt"
	"slices"
)

// forking are the faults after which the database is an older copy.
var forking = []string{"failover", "restore"}

// checkMessages judges the messages of users to the app, over all faults: one that was
// acknowledged was received, unless the database lost what it had; none was received
// twice, and none that nobody sent; sent again, it got the same answer.
func (s *subject) checkMessages() {
	lostUntil := int64(0)
	for _, f := range s.Faults {
		if slices.Contains(forking, f.Name) {
			lostUntil = max(lostUntil, f.End)
		}
	}
	for _, m := range s.Messages {
		s.figures["messages"]++
		wrong := func(property, what string) {
			s.wrong(Violation{Property: property, User: m.User, Op: m.Ref, T: m.T, What: fmt.Sprintf("the message %s of %s %s", m.Ref, m.User, what)})
		}
		if m.Acked > 0 {
			s.figures["messages_acknowledged"]++
		}
		if m.Again {
			s.figures["messages_sent_again"]++
		}
		switch {
		case m.T == 0:
			wrong("P1", "was received, and nobody sent it")
		case m.Received > 1:
			wrong("P3", fmt.Sprintf("was received %d times", m.Received))
		case m.Acked > lostUntil && m.Received == 0:
			wrong("P2", "was acknowledged, and the app did not receive it")
		case m.Refused != "" && m.Received > 0:
			wrong("P2", fmt.Sprintf("was refused for good (%s), and the app received it", m.Refused))
		case m.Differs != "" && m.Acked > lostUntil:
			wrong("P7", "was sent again, and was answered with "+m.Differs)
		}
	}
	if n := len(s.Messages); n > 0 && s.figures["messages_acknowledged"]*2 < int64(n) {
		s.wrong(Violation{Property: "P14", What: fmt.Sprintf("of %d messages to the app, only %d were acknowledged", n, s.figures["messages_acknowledged"])})
	}
}
