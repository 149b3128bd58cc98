# Domicile: every task of the repository. `make help` lists them.
# A machine needs Go and Python 3; all else is fetched at pinned versions.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/domicile-dev/domicile/pkg/version.linked=$(VERSION)

# What a test run may take, and what to add to it: make test TESTFLAGS='-run T13 -v'
TIMEOUT ?= 15m
TESTFLAGS ?=
PKG ?= ./...
FUZZTIME ?= 60s

.PHONY: help build demo test test-im bench proof check lint fmt generate envoy clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: envoy ## build the binaries into bin/ and fetch Envoy
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## run three regions on this machine, until ctrl-C
	@export ENVOY_BIN="$$(.ci/envoy)"; exec bin/domicile demo

test: build ## run every test, on the real Envoy, etcd and Redis
	@export ENVOY_BIN="$$(.ci/envoy)" REDIS_BIN="$$(.ci/redis)"; $(GO) test -count=1 -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)

test-im: build ## install real IM servers (ejabberd, Prosody, Synapse) and test in front of them
	@.ci/im; export ENVOY_BIN="$$(.ci/envoy)"; DOMICILE_IM=required $(GO) test -count=1 -timeout $(TIMEOUT) $(TESTFLAGS) ./test/im

bench: build ## measure against bare Envoy and print the ratios
	@export ENVOY_BIN="$$(.ci/envoy)"; $(GO) run ./test/bench

proof: build ## the long run: race detector, a million random requests, kill -9 at any time, then each fuzzer for FUZZTIME
	@export ENVOY_BIN="$$(.ci/envoy)" REDIS_BIN="$$(.ci/redis)"; $(GO) test -race -count=1 -timeout 60m $(PKG)
	@export ENVOY_BIN="$$(.ci/envoy)"; DOMICILE_SIM_REQUESTS=1000000 DOMICILE_SIM_SEED=$$RANDOM $(GO) test -count=1 -timeout 60m ./test/sim
	@DOMICILE_KILL_DELAYS=40 $(GO) test -count=1 -timeout 60m ./test/kill
	@grep -rl --include='*_test.go' '^func Fuzz' pkg test | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" </dev/null; \
		done; \
	done

check: lint test ## lint and test: what CI runs

lint: ## golangci-lint, tidy modules and the rules of test/arch
	$(GO) mod tidy -diff
	$(GO) run $(GOLANGCI) run --allow-parallel-runners
	$(GO) test -count=1 ./test/arch

fmt: ## format the Go files and give imports their agreed names
	gofmt -w $$(git ls-files -c -o --exclude-standard '*.go')
	$(GO) run $(GOLANGCI) run --allow-parallel-runners --enable-only importas --fix

generate: ## write what is generated and checked in: the schemas of policy files
	$(GO) run ./cmd/domicile schema --out policies/schema

envoy: ## find or fetch the pinned Envoy, and print its path
	@.ci/envoy

clean: ## remove what was built and fetched
	rm -rf bin .cache .run
