# The commands of this project. "make" alone prints this list.

GO ?= go

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## start a server with a private Postgres and a demo; Ctrl-C ends both
	$(GO) build -o bin/taskfeed ./cmd/taskfeed
	exec bin/taskfeed dev

.PHONY: test
test: ## run all tests, with a real Postgres and the race detector
	$(GO) test -race -timeout 9m ./...

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

.PHONY: build
build: ## build bin/taskfeed
	$(GO) build -o bin/taskfeed ./cmd/taskfeed

.PHONY: bench
bench: ## measure this machine and write docs/BENCHMARKS.md
	$(GO) run ./cmd/taskfeed bench --output docs/BENCHMARKS.md

.PHONY: clean
clean: ## remove what the build made
	rm -rf bin dist

.PHONY: web
web: ## build the console from its sources, into web/console/dist
	cd web/console && npm ci --no-audit --no-fund && npm run build

.PHONY: web-check
web-check: ## that web/console/dist is what its sources build to
	cd web/console && npm ci --no-audit --no-fund && npx tsc && npx vite build --logLevel warn --outDir ../../bin/console --emptyOutDir
	diff -r bin/console web/console/dist || { echo "web/console/dist is not up to date: run make web and commit it"; exit 1; }

.PHONY: test-web
test-web: web-check ## test the console, by itself and in a browser
	cd web/console && npm test
	web/browser/setup
	cd web/browser && npm ci --no-audit --no-fund && npx tsc && npm test

.PHONY: pictures
pictures: ## take the pictures of the console for the README
	web/browser/setup
	cd web/browser && npm ci --no-audit --no-fund && npm run pictures
