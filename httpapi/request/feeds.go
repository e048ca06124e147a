package request

import (
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// ErrFeed refuses a feed that the caller may not see.
var ErrFeed = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: "the token does not list one of the feeds that the request names; leave feed out to get all that it lists"}

// maxFeeds is how many feeds a token can name, the user's own included.
const maxFeeds = auth.MaxFeeds + 1

// IDs returns the values of a parameter that may be given more than once, each an id.
func (p *Params) IDs(name string) []string {
	p.Know(name)
	values := p.values[name]
	if len(values) > maxFeeds {
		p.Refuse(name, "stands more than %d times", maxFeeds)
		return nil
	}
	for _, value := range values {
		if value == "" || !plainText(value) {
			p.Refuse(name, "must be an id: text of 1 to 255 bytes without control characters")
			return nil
		}
	}
	return values
}
