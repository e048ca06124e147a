package deploy

import (
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

// The guides show each recipe as it is, and link to it.
func TestDocumentedProxies(t *testing.T) {
	t.Parallel()
	guide := doctest.Section(t, "docs/OPERATIONS.md", "Proxies") + doctest.Section(t, "docs/SCALING.md", "Load balancers")
	shown := doctest.Submatches("(?s)```\\w+\n(.*?)```", guide)
	files, err := os.ReadDir("proxies")
	if err != nil {
		t.Fatal(err)
	}
	var real []string
	for _, file := range files {
		name := "deploy/proxies/" + file.Name()
		real = append(real, doctest.Read(t, name))
		if !strings.Contains(guide, "["+name+"](../"+name+")") {
			t.Errorf("docs/OPERATIONS.md, docs/SCALING.md: got no link to %s, want one", name)
		}
	}
	doctest.Same(t, "recipes in docs/OPERATIONS.md and docs/SCALING.md", shown, real)
}
