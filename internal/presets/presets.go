// Package presets knows the tables of job queues and how their rows map to tasks, so
// that nobody has to write a mapping for them.
//
// A preset is data: the name of a table, the versions of the library's schema that
// it was written for and where the database says which one it has, and a mapping as
// taskfeed.attach takes it. It neither reads a database nor knows whose a job is:
// most libraries keep the owner in the arguments of the app, so it suggests
// expressions for that.
package presets

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Preset is what attach knows of one library.
type Preset struct {
	Name     string   // in commands
	Library  string   // as its authors write it
	Schema   string   // where the library makes its tables unless told otherwise
	Table    string   // without schema
	Has      []string // columns by which the table is told from others of its name
	Versions Versions
	Plain    bool     // refuse it when it is partitioned
	Owners   []string // expressions that may be the owner of a job; the first is the likeliest
	Notes    []string // what users do not see, and what the library must be told

	// mapping has the keys of taskfeed.attach.
	mapping map[string]any
	// with has the keys that are off unless they are asked for: they may hold what
	// users should not see.
	with map[string]any
	// needs names the column that a key of mapping or with reads, where older versions
	// lack it, and older what the key is then; without it, it is left out.
	needs map[string]string
	older map[string]any
}

// Versions says which versions of a library's schema a preset was written for.
type Versions struct {
	Min, Max int
	Where    string // where the database says it, for people
	Table    string // in the same schema, that the query reads; empty when it reads the catalog alone
	Query    string // the version as text; {schema} is the quoted schema, @relation the table's oid
}

// Known reports whether a preset was written for this version. Zero is one that
// could not be read.
func (v Versions) Known(version int) bool { return version >= v.Min && version <= v.Max }

// String says which versions are known.
func (v Versions) String() string {
	if v.Min == v.Max {
		return fmt.Sprint(v.Min)
	}
	return fmt.Sprintf("%d to %d", v.Min, v.Max)
}

// Find returns the preset of a name.
func Find(name string) (Preset, bool) {
	i := slices.IndexFunc(All, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return All[i], true
}

// Source is the name that its source has by default.
func (p Preset) Source() string { return strings.ReplaceAll(p.Name, "-", "_") }

// Options lists the keys that Mapping takes in with.
func (p Preset) Options() []string { return slices.Sorted(maps.Keys(p.with)) }

// Mapping is the mapping for a table with these columns, with some options switched
// on. It reads other tables of the library in the same schema.
func (p Preset) Mapping(schema string, columns, with []string) (map[string]any, error) {
	m := map[string]any{}
	for key, value := range p.mapping {
		if needed, ok := p.needs[key]; ok && !slices.Contains(columns, needed) {
			value = p.older[key]
		}
		if value != nil {
			m[key] = value
		}
	}
	for _, key := range with {
		value, ok := p.with[key]
		if !ok {
			return nil, fmt.Errorf("%s has no %s; it has %s", p.Name, key, cmp.Or(strings.Join(p.Options(), ", "), "nothing that can be switched on"))
		}
		if join, ok := value.(map[string]any); ok {
			join = maps.Clone(join)
			join["from"] = fmt.Sprintf(`"%s"."%s"`, strings.ReplaceAll(schema, `"`, `""`), join["from"])
			value = join
		}
		m[key] = value
	}
	return m, nil
}

// And joins the filter of a preset with one of the user's.
func And(preset, given string) string {
	if preset == "" || given == "" {
		return preset + given
	}
	return fmt.Sprintf("(%s) AND (%s)", preset, given)
}

// Owns reports whether a table of this name and these columns is the library's.
func (p Preset) Owns(table string, columns []string) bool {
	return table == p.Table && !slices.ContainsFunc(p.Has, func(column string) bool { return !slices.Contains(columns, column) })
}
