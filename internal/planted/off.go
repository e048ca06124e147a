//go:build !planted

package planted

// Built reports whether this build can make mistakes on purpose.
const Built = false

// Is reports whether the bug is the one to make.
func Is(Bug) bool { return false }

// Now is Is for a bug that is made now and then.
func Now(Bug) bool { return false }

// Dawdle takes its time before the bug, which makes it likely.
func Dawdle(Bug) {}

// Key is what the hub knows a user by.
func Key(userID string) string { return userID }

// SQL is the statement to run in the place of one that the bug changes.
func SQL(_ Bug, statement string) string { return statement }

// Page is the frames to hand out in the place of some.
func Page[T any](frames []T) []T { return frames }

// Buffer is where to encode a frame of about so many bytes.
func Buffer(size int) []byte { return make([]byte, 0, size) }

// Bookmark is the cursor to name in the place of one.
func Bookmark[T ~int64](cursor T) T { return cursor }

// Leak leaves something behind.
func Leak() {}
