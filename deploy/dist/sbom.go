package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// bom is a list of components in the format of CycloneDX 1.6.
type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// writeSBOM lists the modules that Go recorded in the binaries, and Go's own library.
func writeSBOM(path, version string, at time.Time, binaries []string) error {
	parts := make(map[string]component)
	var main component
	for _, name := range binaries {
		info, err := buildinfo.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read the build information: %w", err)
		}
		main = module("application", info.Main.Path, version, "")
		goVersion := strings.TrimPrefix(info.GoVersion, "go")
		parts["std"] = module("library", "std", goVersion, "")
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			part := module("library", dep.Path, dep.Version, dep.Sum)
			parts[part.Ref] = part
		}
	}
	list := bom{Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata:   metadata{at.Format(time.RFC3339), main},
		Components: make([]component, 0, len(parts))}
	for _, part := range parts {
		list.Components = append(list.Components, part)
	}
	slices.SortFunc(list.Components, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	out, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(out, '\n'), 0o644)
}

// module describes a module; sum is that of go.sum.
func module(kind, path, version, sum string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl}
	if digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(digest) > 0 {
		c.Hashes = []hash{{"SHA-256", hex.EncodeToString(digest)}}
	}
	return c
}
