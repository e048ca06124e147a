package eventlog

import "github.com/jackc/pgx/v5"

// Collect reads a page. Its rows end with the number of candidates, whether the row
// belongs to the list, and whether a walk ends with it; rows of a feed end with the
// first of these and all belong to it. It returns the item after which the next page
// begins, nil when there is no more. The statement ends a page by estimates of sizes;
// when items turn out to be larger, Collect ends the page.
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
