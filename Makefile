# The commands of this project. "make" alone prints this list.

GO ?= go

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## start a server with a private Postgres and a demo; Ctrl-C ends both
	$(GO) build -o bin/taskfeed ./cmd/taskfeed
	exec bin/taskfeed dev

.PHONY: run-fleet
run-fleet: build bin/natsd ## start two servers, three gateways, NATS and a private Postgres; Ctrl-C ends all
	exec bin/taskfeed-lab fleet

.PHONY: test
test: ## run all tests: Go's, and those of client and console
	@$(MAKE) --no-print-directory --jobs=2 test-go test-web-setup
	@$(MAKE) --no-print-directory test-web

.PHONY: test-go
test-go: ## run Go's tests, with a real Postgres and the race detector; "make lint" runs vet
	$(GO) test -race -vet=off -timeout 9m ./...

.PHONY: test-postgres
test-postgres: ## run the tests of Postgres and a short verification on PostgreSQL 14 to 18, downloaded with npm; about 45 minutes
	$(GO) run ./lab/versions

.PHONY: test-hostile
test-hostile: ## run the tests of Postgres with a public schema that catches statements which bind to it
	TASKFEED_TEST_HOSTILE=yes $(GO) test -p 1 -timeout 20m ./store ./store/history ./store/internal/pg ./listener ./migrations ./internal/dial ./lab/pgtest ./cmd/taskfeed

.PHONY: check
check: lint test ## what must pass before a push: formatting, vet, lint and all tests

.PHONY: lint
lint: ## formatting, vet, static analysis, and the rules for migrations
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) test -run '^TestLint' ./migrations

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME, 30s by default; failing inputs are kept in its testdata/fuzz
	@set -e; for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$target in ./$$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s ./$$(dirname $$file); \
		done; \
	done

.PHONY: build
build: ## build bin/taskfeed and bin/taskfeed-lab
	$(GO) build -o bin/ ./cmd/taskfeed ./cmd/taskfeed-lab

.PHONY: bin/natsd
bin/natsd: # the NATS server for gateways on this machine
	cd lab/natsd && $(GO) build -o ../../bin/natsd .

VERIFY_SEED ?= 1

.PHONY: verify
verify: build bin/natsd ## check that nothing is lost: one round of nearly every fault, about eight minutes
	bin/taskfeed-lab verify --seed $(VERIFY_SEED) --duration 5s --without $(NIGHTLY)

# What takes longest and resembles other faults runs at night only.
NIGHTLY = pg-kill-postmaster,pg-refuse,net-blackhole-up,net-blackhole-down,db-blackhole-up,db-blackhole-down

.PHONY: verify-long
verify-long: build bin/natsd ## the same all night with three NATS servers: 40 rounds of 8 minutes, seeded by the clock
	bin/taskfeed-lab verify --rounds 40 --duration 8m --engine-servers 3

.PHONY: verify-fleet
verify-fleet: build bin/natsd ## every fault, with three NATS servers, about ten minutes
	bin/taskfeed-lab verify --seed $(VERIFY_SEED) --duration 2m --engine-servers 3

.PHONY: verify-planted
verify-planted: build bin/natsd ## check that verify catches every mistake of lab/mutations, about twenty minutes
	bin/taskfeed-lab verify --planted all --quiet

.PHONY: bench
bench: build bin/natsd ## measure this machine and write docs/BENCHMARKS.md
	bin/taskfeed-lab bench --report docs/BENCHMARKS.md
	$(GO) generate ./web

VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null)

.PHONY: dist
dist: ## build what is released into dist: archives for each platform, checksums, lists of modules
	$(GO) run ./deploy/dist $(if $(VERSION),--version $(VERSION)) --out dist

.PHONY: clean
clean: ## remove build output
	rm -rf bin dist

.PHONY: web
web: web/node_modules ## build the client and the console from their sources, into web/*/dist
	cd web && npm run build -w client -w console

.PHONY: web-check
web-check: web/node_modules ## check that the committed web/*/dist match their sources and stay within their size budget
	cd web && npm run types -w client -w console && npm run check -w client -w console

.PHONY: test-web
test-web: test-web-setup ## test the client and the console: alone, against servers and in a browser
	$(GO) build -race -o bin/taskfeed-race ./cmd/taskfeed
	cd web && TASKFEED_BIN=$(CURDIR)/bin/taskfeed-race npm test --workspaces

.PHONY: test-web-setup
test-web-setup: web/node_modules
	web/browser/setup

.PHONY: pictures
pictures: test-web-setup ## take the README's screenshots of the console, and its film, again
	$(GO) build -o bin/taskfeed ./cmd/taskfeed
	cd web && TASKFEED_BIN=$(CURDIR)/bin/taskfeed npm run pictures -w browser

# One install for client, console and browser tests, repeated when the lock file changes.
web/node_modules: web/package-lock.json
	@command -v npm >/dev/null || { echo "the client and the console need Node 20 and npm; make test-go tests Go alone"; exit 1; }
	cd web && npm ci --loglevel error
	@touch $@
