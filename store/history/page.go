package history

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

const (
	maxListBytes   = 4 << 20 // of data in one page of a list, estimated and real
	maxExportBytes = 1 << 20 // likewise, in one page of an export
	exportLimit    = 1000    // items in one page of an export
	maxTypes       = 100     // in one query
	maxListScan    = 50_000  // rows that a walk may pass for one page
)

// extent is how much a page may hold, and may take.
type extent struct {
	items int
	bytes int // the item that exceeds it ends the page
	scan  int // rows that each walk may pass, those that a filter leaves out among them
}

func (r *Reader) pageOf(limit int) extent { return extent{limit, maxListBytes, r.scan} }

func (r *Reader) pageOfExport() extent { return extent{exportLimit, maxExportBytes, r.scan} }

// pager is a list of tasks or of events.
type pager[P any] interface {
	begins(after string) error // refuses a token that is not of this list
	page(ctx context.Context, db pg.Querier, after string, e extent) (P, error)
}

// readPage reads one page with a connection of its own.
func readPage[P any](ctx context.Context, r *Reader, l pager[P], after string, e extent) (page P, err error) {
	if err := l.begins(after); err != nil {
		return page, err // without a connection
	}
	err = r.pool.Do(ctx, func(db pg.Conn) (err error) {
		page, err = l.page(ctx, db, after, e)
		return err
	})
	return page, err
}

// export yields the items of all pages. It ends with the first error, whose message
// says where to resume.
func export[T any](after string, page func(after string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			items, next, err := page(after)
			if err != nil {
				var none T
				yield(none, resumable(err, after))
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// resumable adds to the message of a temporary error where to resume.
func resumable(err error, after string) error {
	e, ok := errors.AsType[*taskfeed.Error](err)
	if !ok || e.Code != taskfeed.CodeUnavailable || after == "" {
		return err
	}
	return &taskfeed.Error{Code: e.Code, Message: e.Message + "; to go on where this ended, ask for the same with after=" + after, Err: e.Err}
}

// place is the position of an item in a list.
type place struct {
	at  time.Time // whole microseconds
	key string    // id
}

// Places before and after every item. The schema keeps times in between.
var (
	placeFirst = place{at: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)}
	placeLast  = place{at: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
)

// startOf returns the place before the first item of a list.
func startOf(d walk.Direction) place {
	if d == walk.Descending {
		return placeLast
	}
	return placeFirst
}

// tokenVersion is the first byte of a page token. Then come the fingerprint of
// the list, the time in microseconds, and the key.
const tokenVersion = 1

// maxTokenBytes is more than a token with the longest id has.
const maxTokenBytes = 512

func (p place) token(fingerprint uint64) string {
	b := binary.BigEndian.AppendUint64([]byte{tokenVersion}, fingerprint)
	b = binary.BigEndian.AppendUint64(b, uint64(p.at.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(b, p.key...))
}

// parseToken reads a token of the list with this fingerprint.
func parseToken(token string, fingerprint uint64) (place, error) {
	if len(token) > maxTokenBytes || strings.ContainsAny(token, "\r\n") { // which the decoder passes over
		return place{}, errBadToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 17 || b[0] != tokenVersion || binary.BigEndian.Uint64(b[1:]) != fingerprint {
		return place{}, errBadToken
	}
	p := place{at: time.UnixMicro(int64(binary.BigEndian.Uint64(b[9:]))).UTC(), key: string(b[17:])}
	if p.at.Before(placeFirst.at) || p.at.After(placeLast.at) || !pg.IsText(p.key) {
		return place{}, errBadToken
	}
	return p, nil
}

var errBadToken = pg.Refuse("after", "is no page token of this list with this filter and sort: "+
	`take "next" of the page before, or leave it out for the first page`)

// fingerprint identifies a list by what it selects and how it is sorted. The query must
// be in normal form, without the fields that differ from page to page.
func fingerprint(q any) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%#v", q)
	return h.Sum64()
}

func checkLimit(limit int) error {
	if limit < 1 || limit > MaxPageLimit {
		return pg.Refuse("limit", fmt.Sprintf("must be from 1 to %d", MaxPageLimit))
	}
	return nil
}

// checkSort returns the sort, or the default when there is none.
func checkSort(sort, otherwise Sort, allowed ...Sort) (Sort, error) {
	if sort == "" {
		return otherwise, nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if sort == a {
			return sort, nil
		}
		names[i] = string(a)
	}
	return "", pg.Refuse("sort", "must be one of "+strings.Join(names, ", "))
}

// checkRange returns the range in whole microseconds, the precision of Postgres.
// Rounding up selects the same rows.
func checkRange(field string, r TimeRange) (TimeRange, error) {
	bounds := []*time.Time{&r.From, &r.To}
	for i, suffix := range []string{"_after", "_before"} {
		if bounds[i].IsZero() {
			*bounds[i] = time.Time{}
			continue
		}
		t := bounds[i].UTC()
		if t.Before(placeFirst.at) || t.After(placeLast.at) {
			return r, pg.Refuse(field+suffix, "must be in the years 1 to 9998")
		}
		*bounds[i] = t.Add(time.Microsecond - 1).Truncate(time.Microsecond)
	}
	if !r.From.IsZero() && !r.To.IsZero() && r.From.After(r.To) {
		return r, pg.Refuse(field+"_after", "is later than "+field+"_before: swap them")
	}
	return r, nil
}
