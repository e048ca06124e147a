package verify

import (
	"context"
	"slices"
	"strings"
)

// gateways is how many gateways a round has beside its servers.
const gateways = 2

// hasFleet reports whether the round has gateways. Mistakes elsewhere in the product are
// looked for without: more of the clients then meet the servers with the mistake.
func (r *round) hasFleet() bool {
	return r.private() && r.cfg.Engine != "" && (r.cfg.Mutation == "" || r.fleetFaults())
}

// fleetFaults reports whether faults of gateways or the engine were asked for by name.
func (r *round) fleetFaults() bool {
	return slices.ContainsFunc(r.cfg.Faults, func(name string) bool {
		return strings.HasPrefix(name, "engine-") || strings.HasPrefix(name, "gateway-") || name == "leader-freeze-before-publish"
	})
}

// all returns the servers and the gateways.
func (r *round) all() []*server { return slices.Concat(r.servers, r.gateways) }

// startServers starts the engine, the servers and the gateways.
func (r *round) startServers(ctx context.Context) (err error) {
	if r.hasFleet() {
		if r.engine, err = startEngine(ctx, r.cfg.Engine, r.dir, r.cfg.EngineServers); err != nil {
			return err
		}
	}
	for i := range r.cfg.Servers {
		s, err := newServer(i, r.dir, r.cfg.Binary, r.secret, r.db, r.engine)
		if err != nil {
			return err
		}
		r.servers = append(r.servers, s)
	}
	for i := range gateways {
		if r.engine == nil {
			break
		}
		g, err := newGateway(i, r.dir, r.cfg.Binary, r.secret, r.engine)
		if err != nil {
			return err
		}
		r.gateways = append(r.gateways, g)
	}
	for _, s := range r.all() {
		if err := s.start(); err != nil {
			return err
		}
	}
	return nil
}

// fleetPaths are the paths that a round with gateways must take.
var fleetPaths = []string{"gateway: deliveries", "gateway: session moved", "gateway: gap filled", "gateway: log read", "gateway: memory read", "core: published again"}

// companions are faults that run beside others, which saves their time: gateways and
// what connects them to the servers concern neither clients nor the network of clients.
type companions []fault

// split takes the companions out of the faults of a round.
func (r *round) split(all []fault) (faults []fault, beside companions) {
	for _, f := range all {
		if f.companion {
			beside = append(beside, f)
		} else {
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return beside, nil
	}
	return faults, beside
}

// take removes the first fault that may run beside another.
func (c *companions) take(f fault) []fault {
	for i, o := range *c {
		if f.kind == kindClient || f.kind == kindNet && o.kind == kindEngine {
			*c = slices.Delete(*c, i, i+1)
			return []fault{o}
		}
	}
	return nil
}
