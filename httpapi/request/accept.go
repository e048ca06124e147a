package request

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/taskfeed/taskfeed"
)

// Media types that the API speaks.
const (
	TypeJSON        = "application/json"
	TypeNDJSON      = "application/x-ndjson"
	TypeCSV         = "text/csv"
	TypeEventStream = "text/event-stream"
)

// Negotiate returns the offered media type that the request prefers, the earliest of
// those that it prefers equally. It returns CodeNotAcceptable when it accepts none.
func Negotiate(r *http.Request, offered ...string) (string, error) {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return offered[0], nil
	}
	best, bestQuality := "", 0.0
	for _, offer := range offered {
		if quality := qualityOf(offer, accept); quality > bestQuality {
			best, bestQuality = offer, quality
		}
	}
	if best == "" {
		return "", &taskfeed.Error{Code: taskfeed.CodeNotAcceptable,
			Message: "this URL answers with " + strings.Join(offered, ", ") + "; ask for one of them in Accept"}
	}
	return best, nil
}

// qualityOf is the quality that an Accept header gives a media type, by the most
// specific range that matches it (RFC 9110 section 12.5.1).
func qualityOf(offer, accept string) float64 {
	quality, closest := 0.0, -1
	for element := range strings.SplitSeq(accept, ",") {
		wanted, params, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		if fit := closeness(wanted, offer); fit > closest {
			quality, closest = weight(params["q"]), fit
		}
	}
	return quality
}

// closeness is how specifically a media range matches a media type, -1 when it does not.
func closeness(wanted, offer string) int {
	major, _, _ := strings.Cut(offer, "/")
	switch wanted {
	case offer:
		return 2
	case major + "/*":
		return 1
	case "*/*":
		return 0
	}
	return -1
}

func weight(q string) float64 {
	if q == "" {
		return 1
	}
	w, err := strconv.ParseFloat(q, 64)
	if err != nil || w < 0 || w > 1 {
		return 0
	}
	return w
}
