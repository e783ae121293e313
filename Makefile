# What a developer and CI run; `make` alone lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION    ?= 0.1.0
REVISION   ?= $(shell git rev-parse --verify -q HEAD 2>/dev/null || echo unknown)
BRANCH     ?= $(shell git symbolic-ref --short -q HEAD 2>/dev/null || echo unknown)
# The commit's own time, so that two builds of one commit are one binary.
BUILD_DATE ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y%m%d-%H:%M:%S 2>/dev/null || date -u +%Y%m%d-%H:%M:%S)

GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0
# A current Prometheus, beside the distribution's: v0.316.0 is what Go calls 3.16.0.
PROMTOOL_VERSION      := v0.316.0

DEPS    := $(CURDIR)/.deps
# Names the version, so that a new one is installed beside the old.
LINT    := $(DEPS)/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
VULN    := $(DEPS)/bin/govulncheck-$(GOVULNCHECK_VERSION)
PROMTOOL_3X := $(DEPS)/bin/promtool-$(PROMTOOL_VERSION)

COMMON  := github.com/prometheus/common/version
LDFLAGS  = -s -w -X $(COMMON).Version=$(VERSION) -X $(COMMON).Revision=$(REVISION) -X $(COMMON).Branch=$(BRANCH) \
	-X $(COMMON).BuildDate=$(BUILD_DATE)

# The revision comes in by LDFLAGS; Go asking git for it would fail where the checkout belongs to another user.
export GOFLAGS := $(strip $(shell go env GOFLAGS 2>/dev/null) -buildvcs=false)

# More arguments for go test, as in `make test TESTFLAGS='-v -run Redis'`.
TESTFLAGS      ?=
TEST_TIMEOUT   ?= 25m
FUZZTIME       ?= 10s
FUZZLEAST      ?= 1000
BENCHTIME      ?= 1s
BENCH          ?= .
BENCH_PACKAGES ?= $(sort $(dir $(shell grep -rl --include='*_test.go' '^func Benchmark' . 2>/dev/null)))
DEMOFLAGS      ?=

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z0-9 -]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: build
build: ## Build ./cacheinv_exporter, static
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o cacheinv_exporter .

.PHONY: demo run
demo run: ## Run the demo; DEMOFLAGS='--scenario=partition' for a fault
	go run . demo $(DEMOFLAGS)

.PHONY: deps
deps: ## Install what the tests need and is not there yet: servers, promtool, Kafka's jars
	@.ci/deps

# The race detector sees nothing here, and makes it take thrice as long: rules, dashboards, pages and the bundle are texts, the tests of
# incidents, attacks and the ledger run the exporter as a process of its own, and the simulation plays what other tests race.
WITHOUT_RACES := ./internal/test/detection ./internal/test/hostile ./alerts/... ./internal/test/ledger ./docs/... \
	./internal/bundle/... ./dashboards/... ./internal/tools/... ./internal/test/simulation
# Packages are tested in this order: those that take longest begin first, so that none is left alone at the end.
LONGEST := ./internal/test/acceptance ./probes/redis
# Most tests wait for servers.
PACKAGES_AT_ONCE ?= $(shell echo $$(($$(nproc) + 1)))

# What vet finds, check finds.
GO_TEST = go test -p $(PACKAGES_AT_ONCE) -vet=off -timeout $(TEST_TIMEOUT) $(TESTFLAGS)

.PHONY: test
test: ## Run all tests, those of the exporter's own code with the race detector; a missing server fails them
	@code=0; set -x; \
	$(GO_TEST) -race $(LONGEST) $$(go list ./... | grep -vxFf <(go list $(WITHOUT_RACES))) || code=$$?; \
	$(GO_TEST) $(WITHOUT_RACES) || code=$$?; \
	exit $$code

.PHONY: check
check: check-format check-vet check-lint check-tidy check-docs check-rules check-metrics check-vulnerabilities ## Run everything that finds faults without the tests

.PHONY: check-format
check-format: $(LINT)
	$(LINT) fmt --diff

.PHONY: check-vet
check-vet:
	go vet ./...

.PHONY: check-lint
check-lint: $(LINT)
	$(LINT) run ./...

.PHONY: check-tidy
check-tidy:
	go mod tidy -diff

# -v and awk: with a test of another name nothing would run, and pass.
.PHONY: check-docs
check-docs:
	go test -count=1 -v -run '^TestMetricsPage$$' ./collector | awk '{ print } /^--- PASS: TestMetricsPage/ { ran = 1 } END { exit !ran }'

.PHONY: check-metrics
check-metrics: build
	.ci/check-metrics ./cacheinv_exporter

.PHONY: check-rules
check-rules:
	.ci/check-rules promtool

.PHONY: check-rules-3x
check-rules-3x: $(PROMTOOL_3X) ## Check and test the rules with a current promtool; the first time builds it, for minutes
	.ci/check-rules $(PROMTOOL_3X)

.PHONY: check-vulnerabilities
check-vulnerabilities: $(VULN)
	.ci/check-vulnerabilities $(VULN)

.PHONY: format
format: $(LINT) ## Format the code as check wants it
	$(LINT) fmt

.PHONY: bench
bench: ## Run the benchmarks; tables tell each way as a ratio to the first
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) $(BENCH_PACKAGES)

# Exporters that bench-peers measures beside ours, each as NAME=PACKAGE. Those that can't be built, and are not in PEERS, are left out by name.
PEERS         ?= $(CURDIR)/.deps/peers
PEER_PACKAGES ?= kminion=github.com/redpanda-data/kminion/v2@latest kafka_exporter=github.com/danielqsj/kafka_exporter@latest \
	redis_exporter=github.com/oliver006/redis_exporter@latest memcached_exporter=github.com/prometheus/memcached_exporter/cmd/memcached_exporter@latest

.PHONY: bench-peers
bench-peers: ## Measure ours beside other exporters, in one run; PEERS is a folder with their binaries, or where they are built
	@for p in $(PEER_PACKAGES); do \
		[ -x "$(PEERS)/$${p%%=*}" ] || GOBIN="$(PEERS)" go install "$${p#*=}" 2>/dev/null || echo "$${p%%=*} could not be built from its module"; \
	done
	CACHEINV_PEERS="$(PEERS)" go test -run '^$$' -bench '^BenchmarkPeers' -benchtime 1x -timeout 30m ./internal/test/acceptance

.PHONY: soak
soak: ## Run the acceptance tests, the ledger of event checks, the incidents of detection, the attacks and the simulation with their full counts, and all mutants of the rules (hours)
	CACHEINV_SOAK=1 go test -count=1 -p 1 -timeout 170m $(TESTFLAGS) ./internal/test/acceptance/... ./probes/... ./alerts ./internal/bundle ./internal/test/detection/... ./internal/test/hostile ./internal/test/ledger ./internal/test/simulation/... ./internal/verdict ./internal/drain ./internal/recovery ./internal/repair

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s); one that ran less than FUZZLEAST times (1000) fails
	@.ci/fuzz $(FUZZTIME) $(FUZZLEAST)

.PHONY: bundle
bundle: build ## Write the rules, dashboards and runbooks into ./bundle
	./cacheinv_exporter bundle --out=bundle --force

.PHONY: image
image: ## Build the container image with docker
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg BRANCH=$(BRANCH) \
		--build-arg BUILD_DATE=$(BUILD_DATE) -t cacheinv_exporter:$(VERSION) .

.PHONY: licences
licences: ## Collect the licences of what the binary links, in ./licences; who passes the binary on passes these on
	.ci/licences licences

.PHONY: clean
clean: ## Remove what the other targets made; .deps stays
	rm -rf cacheinv_exporter bundle licences *.test *.prof *.out

# Built by the Go that checks the code: a linter built by an older one refuses newer code. Moved in place when it is whole.
$(LINT):
	GOBIN=$(DEPS)/bin/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(DEPS)/bin/new/golangci-lint $@

$(VULN):
	GOBIN=$(DEPS)/bin/new go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv $(DEPS)/bin/new/govulncheck $@

$(PROMTOOL_3X):
	GOBIN=$(DEPS)/bin/new go install github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL_VERSION)
	mv $(DEPS)/bin/new/promtool $@
