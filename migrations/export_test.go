package migrations

import (
	"context"
	"database/sql"
	"strings"
)

// Part is one part of a schema.
type Part = part

// Describe returns the parts of the schema of a database, none when it has no schema.
func Describe(ctx context.Context, databaseURL string) (parts []Part, err error) {
	err = withDB(ctx, databaseURL, "", func(db *sql.DB) error {
		exists, err := schemaExists(ctx, db)
		if err == nil && exists {
			parts, err = describe(ctx, db)
		}
		return err
	})
	return parts, err
}

// Print writes parts for people, each object with what belongs to it below.
func Print(parts []Part) string {
	var text strings.Builder
	for _, p := range parts {
		line := p.definition()
		if p.Kind != "" {
			line = "    " + line
		}
		switch {
		case p.Comment == "":
		case strings.Contains(line, "\n"): // a function
			line += "\n-- " + p.Comment
		default:
			line += " -- " + p.Comment
		}
		text.WriteString(line + "\n")
	}
	return text.String()
}
