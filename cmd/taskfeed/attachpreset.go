package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// usePreset completes an attachment that names a library instead of a table. What it
// says itself wins, but for its filter, which the library's own joins.
func (a *attachment) usePreset(ctx context.Context, st *store.Store) error {
	preset, ok := presets.Find(a.preset)
	if !ok {
		return fmt.Errorf("there is no preset %s; there are %s", a.preset, strings.Join(presetNames(), ", "))
	}
	library, err := findLibrary(ctx, st, preset, a.schema)
	if err != nil {
		return err
	}
	mapping, err := preset.Mapping(library.Schema, library.Columns, a.with)
	if err != nil {
		return err
	}
	for key, value := range a.mapping {
		mapping[key] = value
	}
	if first, ok := mapping["when"].(string); ok && a.mapping["when"] != nil {
		whole, _ := preset.Mapping(library.Schema, library.Columns, nil)
		own, _ := whole["when"].(string)
		mapping["when"] = presets.And(own, first)
	}
	if mapping["user"] == nil {
		return fmt.Errorf("say whose a job of %s is: %s", preset.Library, ownerHint(preset))
	}
	a.table, a.mapping, a.library = library.Table, mapping, &library
	a.name = cmp.Or(a.name, preset.Source())
	return nil
}

func presetNames() (names []string) {
	for _, p := range presets.All {
		names = append(names, p.Name)
	}
	return names
}

func ownerHint(p presets.Preset) string {
	hints := make([]string, len(p.Owners))
	for i, o := range p.Owners {
		hints[i] = "--user " + quoteShell(o)
	}
	return strings.Join(hints, ", or ")
}

// findLibrary finds the one table of a library.
func findLibrary(ctx context.Context, st *store.Store, preset presets.Preset, schema string) (store.Library, error) {
	libraries, err := st.Libraries(ctx)
	if err != nil {
		return store.Library{}, err
	}
	var found []store.Library
	for _, l := range libraries {
		if l.Preset.Name == preset.Name && (schema == "" || l.Schema == schema) {
			found = append(found, l)
		}
	}
	switch {
	case len(found) == 0 && schema != "":
		return store.Library{}, fmt.Errorf("there is no table %s of %s in the schema %s", preset.Table, preset.Library, schema)
	case len(found) == 0:
		return store.Library{}, fmt.Errorf("there is no table %s of %s in this database", preset.Table, preset.Library)
	case len(found) > 1:
		names := make([]string, len(found))
		for i, l := range found {
			names[i] = l.Table
		}
		return store.Library{}, fmt.Errorf("name the schema by --schema: there are %s", strings.Join(names, ", "))
	case preset.Plain && found[0].Partitioned:
		return store.Library{}, fmt.Errorf("%s is partitioned: %s moves jobs between partitions and drops these, so that what becomes of a job cannot be seen", found[0].Table, preset.Library)
	}
	return found[0], nil
}

// knownVersion says which version a library's schema has, and whether the preset was
// written for it.
func knownVersion(l store.Library) (says string, known bool) {
	v := l.Preset.Versions
	switch {
	case l.Version == 0:
		return fmt.Sprintf("the version of its schema cannot be read from %s; this program knows %s", v.Where, v), false
	case !v.Known(l.Version):
		return fmt.Sprintf("its schema has version %d, by %s, and this program knows %s: see by a dry run whether its statuses and columns are the same", l.Version, v.Where, v), false
	}
	return fmt.Sprintf("its schema has version %d, which this program knows", l.Version), true
}

// describeLibrary says what a preset found, and what its users do not see.
func describeLibrary(l store.Library) string {
	var b strings.Builder
	says, known := knownVersion(l)
	fmt.Fprintf(&b, "%s%s of %s: %s\n", map[bool]string{false: "warning: "}[known], l.Table, l.Preset.Library, says)
	for _, note := range l.Preset.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return b.String()
}

// inspectLibraries tells of attached tables whose library has another version than
// its preset was written for.
func inspectLibraries(libraries []store.Library) (found []migrations.Finding) {
	for _, l := range libraries {
		if says, known := knownVersion(l); !known && l.Source != "" {
			found = append(found, migrations.Finding{Says: fmt.Sprintf("attached table %s: %s of %s: %s", l.Source, l.Table, l.Preset.Library, says)})
		}
	}
	return found
}

// suggestLibraries writes the command for each table of a library that is not
// attached.
func suggestLibraries(libraries []store.Library) string {
	var b strings.Builder
	for _, l := range libraries {
		if l.Source != "" {
			continue
		}
		command := "taskfeed attach " + l.Preset.Name
		several := slices.ContainsFunc(libraries, func(o store.Library) bool { return o.Preset.Name == l.Preset.Name && o.Table != l.Table })
		if several {
			command += " --schema " + quoteShell(l.Schema) + " --name " + quoteShell(defaultName(l.Schema+"_"+l.Preset.Source()))
		}
		says, _ := knownVersion(l)
		fmt.Fprintf(&b, "%s --user %s --dry-run\n  # %s of %s: %s; the user is a guess\n", command, quoteShell(l.Preset.Owners[0]), l.Table, l.Preset.Library, says)
	}
	return b.String()
}

// takePreset takes the keys of a file that are about presets out of the mapping.
func (a *attachment) takePreset() error {
	for key, into := range map[string]*string{"table": &a.table, "name": &a.name, "preset": &a.preset, "schema": &a.schema} {
		if v, ok := a.mapping[key]; ok {
			text, isText := v.(string)
			if !isText {
				return fmt.Errorf("%s must be a text", key)
			}
			*into = text
			delete(a.mapping, key)
		}
	}
	switch with := a.mapping["with"].(type) {
	case nil:
	case string:
		a.with = listed(with)
	case []any:
		for _, v := range with {
			a.with = append(a.with, fmt.Sprint(v))
		}
	default:
		return errors.New("with must be a text like \"error, result\"")
	}
	delete(a.mapping, "with")
	return nil
}

// listed reads "error, result".
func listed(text string) (list []string) {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}
