package taskfeed

import "errors"

// Code is a stable name for a kind of error; callers may branch on it. Codes
// appear in HTTP problem documents and are never renamed.
type Code string

// The codes. A test checks that each has an HTTP status.
const (
	// CodeInternal means a fault of the server. It is what CodeOf returns for
	// an error without a code; the cause is in the server's log.
	CodeInternal Code = "internal"

	// CodeUnavailable means that the server cannot serve this now, for example while it
	// drains or its database is down. Try again later.
	CodeUnavailable Code = "unavailable"

	// CodeBadRequest means that the request cannot be understood.
	CodeBadRequest Code = "bad_request"

	// CodeBadCursor means that a cursor is not the decimal ID of an event.
	CodeBadCursor Code = "bad_cursor"

	// CodeGone means the cursor is older than the oldest event kept. The caller
	// must drop its state, list the tasks again and start from the new cursor.
	CodeGone Code = "cursor_gone"

	// CodeMarkAhead means that a read mark is beyond the last event of the log.
	CodeMarkAhead Code = "mark_ahead"

	// CodeBadToken means that a token is missing, malformed, forged or expired.
	CodeBadToken Code = "bad_token"

	// CodeAmbiguousCredentials means that a request carries more than one token.
	CodeAmbiguousCredentials Code = "ambiguous_credentials"

	// CodeForbidden means that the principal may not do this.
	CodeForbidden Code = "forbidden"

	// CodeOriginNotAllowed means that the page's origin is not on the list.
	CodeOriginNotAllowed Code = "origin_not_allowed"

	// CodeNotFound means that the thing does not exist, or that the principal may not
	// see it.
	CodeNotFound Code = "not_found"

	// CodeMethodNotAllowed means that the URL does not accept this method.
	CodeMethodNotAllowed Code = "method_not_allowed"

	// CodeNotAcceptable means that the URL has no representation of the asked type.
	CodeNotAcceptable Code = "not_acceptable"

	// CodeTooLarge means that a request's body is too big.
	CodeTooLarge Code = "too_large"

	// CodeURITooLong means that a request's path is longer than any valid path.
	CodeURITooLong Code = "uri_too_long"

	// CodeUnsupportedMedia means that a request's body has an unsupported type.
	CodeUnsupportedMedia Code = "unsupported_media_type"

	// CodeTooManyConnections means that the user has as many connections as allowed.
	CodeTooManyConnections Code = "too_many_connections"

	// CodeTooManyClients means that the user has as many named clients as allowed.
	CodeTooManyClients Code = "too_many_clients"

	// CodeRateLimited means that the principal sends too many requests. Wait and retry.
	CodeRateLimited Code = "rate_limited"

	// CodeUpgradeRequired means that the URL speaks WebSocket only.
	CodeUpgradeRequired Code = "upgrade_required"

	// CodeInboxOff means that the server takes no messages of users.
	CodeInboxOff Code = "inbox_off"

	// CodeTopicNotAllowed means that the server takes no messages of this topic.
	CodeTopicNotAllowed Code = "topic_not_allowed"

	// CodeRefReused means that the user has sent another message with the same ref.
	CodeRefReused Code = "ref_reused"

	// CodeInboxFull means that too many messages wait for the app. The message is not
	// stored.
	CodeInboxFull Code = "inbox_full"
)

// Error is an error with a code. Message is for the caller: it is safe to show and says
// what to do. Err is the cause, only for the log; it may be nil.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Error returns the message and the cause, if there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first Error in err's chain, CodeInternal when
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
