package dial

import "maps"

// Pinned returns the parameters of every connection.
func Pinned() map[string]string { return maps.Clone(pinned) }

// Params returns the parameters of a session.
func (c Config) Params() map[string]string { return c.params(true) }
