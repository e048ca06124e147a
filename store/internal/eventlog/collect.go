package eventlog

import "github.com/jackc/pgx/v5"

// Collect reads a page whose rows end with the number of candidates, whether the
// row fits, and whether a walk ends with it; where they end with less, all fit. It
// returns what the next page comes after, nil when there is no more. The statement
// ends a page by what it takes items to measure; where they turn out to be larger,
// the page ends here.
func Collect[T any](rows pgx.Rows, limit int, size func(*T) int, scan func(row pgx.CollectableRow, more ...any) (T, error)) (items []T, last *T, err error) {
	defer rows.Close()
	items = []T{}
	candidates, fits, ends := 0, true, false
	for held := 0; held < limit && !ends && rows.Next(); {
		item, err := scan(rows, &candidates, &fits, &ends)
		if err != nil {
			return nil, nil, err
		}
		if fits {
			held += size(&item)
			items = append(items, item)
		}
		if ends {
			last = &item
		}
	}
	rows.Close()
	if last == nil && candidates > len(items) && len(items) > 0 {
		last = &items[len(items)-1]
	}
	return items, last, rows.Err()
}
