package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/auth"
)

// settingOf is the setting behind each field that a package's error can name.
// Packages know nothing of the environment; users know nothing of fields.
var settingOf = map[string]string{
	"Secret":         "TASKFEED_JWT_SECRET",
	"PublicKeyFiles": "TASKFEED_JWT_PUBLIC_KEY_FILE",
	"JWKSURL":        "TASKFEED_JWKS_URL",
	"Algorithms":     "TASKFEED_JWT_ALGORITHMS",
	"RoleClaim":      "TASKFEED_JWT_ROLE_CLAIM",
	"FeedsClaim":     "TASKFEED_JWT_FEEDS_CLAIM",
	"Leeway":         "TASKFEED_JWT_LEEWAY",
}

// inSettings returns the error with the names of settings in place of fields.
func inSettings(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, inSettings(e))
		}
		return errors.Join(errs...)
	}
	e, ok := errors.AsType[*auth.FieldError](err)
	if !ok {
		return err
	}
	var names []string
	for _, field := range e.Fields {
		names = append(names, settingOf[field])
	}
	problem := strings.ReplaceAll(e.Problem, "PublicKeyFiles", settingOf["PublicKeyFiles"])
	return fmt.Errorf("%s: %s", strings.Join(names, ", "), problem)
}

// issueToken is auth.Issue with errors that name settings.
func issueToken(cfg auth.Config, userID, role string, ttl time.Duration, feeds ...string) (string, error) {
	token, err := auth.Issue(cfg, userID, role, ttl, feeds...)
	return token, inSettings(err)
}
