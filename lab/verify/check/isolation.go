package check

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// canaryMark is the prefix of every canary, so that one search finds them all.
const canaryMark = "canary-"

// checkCanaries is P6 for every byte that a client received: no frame and no answer may
// contain a canary that the user does not see.
func (s *subject) checkCanaries() {
	own := make(map[string][]string)
	for _, u := range s.Header.Users {
		for _, owner := range s.Header.Users {
			if owner.Canary != "" && u.Sees(owner.ID) {
				own[u.ID] = append(own[u.ID], owner.Canary)
			}
		}
	}
	for name, records := range s.Clients {
		user, session := "", 0
		for _, r := range records {
			if r.Kind == history.Start {
				user = r.User
			}
			if r.Kind == history.Dial {
				session = r.Session
			}
			if found := foreign(r.Text, own[user]); found != "" && !s.knownLeak(name, r.T) {
				s.wrong(Violation{Property: "P6", Client: name, User: user, T: r.T,
					What: fmt.Sprintf("%s of another user was in what %s received in session %d", found, user, session)})
			}
		}
	}
}

// knownLeak reports whether a violation of P6 is recorded already for this message.
func (s *subject) knownLeak(client string, t int64) bool {
	for _, v := range s.violations["P6"] {
		if v.Client == client && v.T == t {
			return true
		}
	}
	return false
}

// foreign returns the first canary in the text other than those that the user sees.
func foreign(text string, own []string) string {
	for {
		i := strings.Index(text, canaryMark)
		if i < 0 {
			return ""
		}
		text = text[i:]
		if !slices.ContainsFunc(own, func(canary string) bool { return strings.HasPrefix(text, canary) }) {
			return text[:min(len(text), len(canaryMark)+8)] + "…"
		}
		text = text[len(canaryMark):]
	}
}

// token matches the beginning of a JWT: two parts of JSON in base64.
var token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}`)

// checkLogs is P6 for the logs of servers, Postgres and actors: no canary, no
// token, no secret.
func (s *subject) checkLogs() {
	for name, path := range s.Logs {
		if err := s.searchLog(name, path); err != nil {
			s.wrong(Violation{Property: "P14", What: fmt.Sprintf("the log %s cannot be read: %v", name, err)})
		}
	}
}

func (s *subject) searchLog(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if what := s.secretIn(line); what != "" {
			s.wrong(Violation{Property: "P6", What: fmt.Sprintf("%s:%d shows %s", name, n, what)})
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// secretIn returns which kind of secret a line of a log contains, without repeating it.
func (s *subject) secretIn(line string) string {
	for _, secret := range s.Header.Secrets {
		if strings.Contains(line, secret) {
			return "a secret"
		}
	}
	switch {
	case strings.Contains(line, canaryMark):
		return "what a task holds"
	case token.MatchString(line):
		return "a token"
	}
	return ""
}
