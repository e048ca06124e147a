package migrations_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// object matches what a migration creates: its kind and its name.
var object = regexp.MustCompile(`(?m)^\s*CREATE (?:UNIQUE |OR REPLACE )*(TABLE|INDEX|SEQUENCE|FUNCTION|TRIGGER) (?:CONCURRENTLY |IF NOT EXISTS )*([a-z0-9_.]+)`)

// lint returns what breaks our rules for migrations.
func lint(name, sql string) (faults []string) {
	fault := func(text string) { faults = append(faults, name+": "+text) }
	up, down, found := strings.Cut(sql, "-- +goose Down")
	if !found || strings.TrimSpace(down) == "" {
		fault("it has no Down section")
	}
	for _, m := range object.FindAllStringSubmatch(up, -1) {
		kind, object := m[1], m[2]
		comment := "COMMENT ON " + kind + " " + object
		if kind == "INDEX" {
			comment = "COMMENT ON INDEX taskfeed." + object
		}
		if !regexp.MustCompile(regexp.QuoteMeta(comment) + `[ (]`).MatchString(up) {
			fault(strings.ToLower(kind) + " " + object + " has no comment")
		}
		if kind == "FUNCTION" && !strings.Contains(up, "REVOKE ALL ON FUNCTION "+object+"(") {
			fault("function " + object + " is not revoked from PUBLIC")
		}
	}
	if object.MatchString(up) && !strings.HasSuffix(strings.TrimSpace(up), "SELECT taskfeed.restrict_rights();") {
		fault("it does not end with SELECT taskfeed.restrict_rights(): default privileges may open what it makes")
	}
	for function := range strings.SplitSeq(up, "-- +goose StatementBegin") {
		if strings.Contains(function, "SECURITY DEFINER") && !strings.Contains(function, "SET search_path = pg_catalog, pg_temp") {
			for _, name := range unqualified(function) {
				fault("a SECURITY DEFINER function without a fixed search_path looks for " + name)
			}
		}
	}
	if regexp.MustCompile(`(?i)select \*`).MatchString(sql) {
		fault("SELECT * hides what is read: name the columns")
	}
	if m := regexp.MustCompile(`(?m)^\s*(create|alter|drop|comment|grant|revoke|insert|select|update|delete|returns|language|begin|end)\b`).FindString(sql); m != "" {
		fault("keywords are upper case: " + strings.TrimSpace(m))
	}
	return faults
}

var (
	notCode = regexp.MustCompile(`(?s)--[^\n]*|'(?:[^']|'')*'|:=`)
	// lookedUp matches what Postgres finds by the search_path: an operator, a word
	// that stands for one, a function or a type without its schema.
	lookedUp = regexp.MustCompile(`[-+*/<>=~!@#%^&|?]+|\b(?:IN|BETWEEN|LIKE|DISTINCT FROM|CASE \w+)\b|(?:^|[^.\w])\w+\(|::`)
)

// unqualified lists what the body of a function leaves to the search_path.
func unqualified(function string) []string {
	_, body, _ := strings.Cut(function, "$$")
	body, _, _ = strings.Cut(body, "$$")
	return lookedUp.FindAllString(notCode.ReplaceAllString(body, ""), -1)
}

func TestLintMigrations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d migrations: %v", len(files), err)
	}
	for _, file := range files {
		sql, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range lint(file, string(sql)) {
			t.Error(fault)
		}
	}
}

func TestLintFindsFaults(t *testing.T) {
	t.Parallel()
	const good = `-- +goose Up
CREATE TABLE taskfeed.x (a int);
COMMENT ON TABLE taskfeed.x IS 'x';
-- +goose StatementBegin
CREATE FUNCTION taskfeed.f(a int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN abs(a);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.f(int) IS 'f';
REVOKE ALL ON FUNCTION taskfeed.f(int) FROM PUBLIC;
SELECT taskfeed.restrict_rights();
-- +goose Down
DROP TABLE taskfeed.x;
`
	qualified := func(body string) string {
		return strings.NewReplacer("SET search_path = pg_catalog, pg_temp\n", "", "RETURN abs(a);", body).Replace(good)
	}
	for _, good := range []string{good, qualified("b := pg_catalog.abs(a);")} {
		if got := lint("good", good); len(got) != 0 {
			t.Errorf("a good migration has faults: %q", got)
		}
	}
	for want, bad := range map[string]string{
		"table taskfeed.x has no comment":       strings.Replace(good, "COMMENT ON TABLE taskfeed.x IS 'x';", "", 1),
		"is not revoked from PUBLIC":            strings.Replace(good, "REVOKE ALL ON FUNCTION taskfeed.f(int) FROM PUBLIC;", "", 1),
		"index x_a has no comment":              strings.Replace(good, "SELECT taskfeed.restrict", "CREATE UNIQUE INDEX CONCURRENTLY x_a ON taskfeed.x (a);\nSELECT taskfeed.restrict", 1),
		"search_path looks for  abs(":           strings.Replace(good, "SET search_path = pg_catalog, pg_temp\n", "", 1),
		"search_path looks for +":               qualified("b := a + pg_catalog.abs(a); -- abs(a)"),
		"search_path looks for DISTINCT FROM":   qualified("b := a IS DISTINCT FROM 1;"),
		"search_path looks for CASE a":          qualified("b := CASE a WHEN 1 THEN 'abs(a)' END;"),
		"search_path looks for ::":              qualified("b := a::text;"),
		"it does not end with SELECT taskfeed":  strings.Replace(good, "SELECT taskfeed.restrict_rights();", "", 1),
		"it has no Down section":                good[:strings.Index(good, "-- +goose Down")],
		"keywords are upper case: drop":         strings.Replace(good, "DROP", "drop", 1),
		"SELECT * hides what is read: name the": good + "INSERT INTO a SELECT * FROM b;\n",
	} {
		if got := lint("bad", bad); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got faults %q, want one with %q", got, want)
		}
	}
}
