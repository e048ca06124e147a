package main

import (
	"context"

	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
	"github.com/taskfeed/taskfeed/store"
)

// inspectEngine returns what is found on the engine.
func inspectEngine(ctx context.Context, cfg *config, what checkup) (found []migrations.Finding) {
	inspect := natsrelay.InspectConfig{Engine: cfg.relay.Engine, Prefix: cfg.relay.Prefix, Gateway: what.gateway}
	if !what.engine {
		inspect.Own = ownLog(ctx, cfg.store)
	}
	for _, f := range natsrelay.Inspect(ctx, inspect) {
		found = append(found, migrations.Finding{Problem: f.Problem, Says: f.Says})
	}
	return found
}

// ownLog returns the log of the database, and nil when it cannot be read: then doctor has
// other findings.
func ownLog(ctx context.Context, cfg store.Config) *relay.Lineage {
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return nil
	}
	defer st.Close()
	state, err := st.LogState(ctx)
	if err != nil {
		return nil
	}
	return &relay.Lineage{ID: state.ID, Epoch: state.Epoch}
}
