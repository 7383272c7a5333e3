# Every target does its own set-up. `make help` lists them.
SHELL := /bin/sh
export CGO_ENABLED ?= 1
GO = $(shell deploy/setup/go.sh)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
FUZZTIME ?= 20s
VERSION ?= 0.1.0
RELAYFLAGS ?= -bench-rounds 1
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
VULNDB ?= https://vuln.go.dev

.PHONY: help setup setup-test setup-compose build demo test test-compose lint fmt fuzz bench bench-rendezvous bench-peers bench-relay packages vulncheck sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

setup: ## install what building needs (Debian, Ubuntu; root or sudo)
	@deploy/setup/setup.sh build

setup-test: ## install what the tests need besides
	@deploy/setup/setup.sh test

build: setup ## build bin/easyfind and bin/easyfind-rendezvous
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./agent/cmd/... ./rendezvous/cmd/... ./deploy/load/cmd/...

demo: build ## a rendezvous, a host and a client on this machine: share a virtual disk and keyboard
	@bin/easyfind-demo

test: setup-test lint ## every test that this machine permits
	@# Those of whole machines take the longest and wait the most: they begin first.
	@echo "testing; the first results are those of whole machines, after about ten minutes"
	@$(GO) test -race -shuffle=on -timeout 60m ./deploy/e2e ./...
	@$(GO) test -race -shuffle=on -tags libusb ./agent/internal/usb/libusb
	@$(GO) test -count=1 -run '^TestChaos$$' ./agent/internal/session -args -chaos 2000
	@$(GO) test -C deploy/helm/charttest -shuffle=on ./...

lint: setup ## formatter, vet, staticcheck
	@out=$$($(GO) run $(GOFUMPT) -l agent deploy internal migrations proto rendezvous *.go) && test -z "$$out" || { echo "not formatted, run make fmt: $$out"; exit 1; }
	@$(GO) vet ./...
	@$(GO) run $(STATICCHECK) ./...

fmt: setup ## format the code
	@$(GO) run $(GOFUMPT) -w agent deploy internal migrations proto rendezvous *.go

fuzz: setup-test ## fuzz every decoder for FUZZTIME (20s)
	@GO="$(GO)" deploy/setup/fuzz.sh $(FUZZTIME)

bench: build setup-test ## measure in two guests beside stock usbip
	@$(GO) test -count=1 -timeout 60m -run '^TestBenchUSB$$' -v ./deploy/e2e -bench-usb $(BENCHFLAGS)

bench-rendezvous: setup-test ## measure the rendezvous under 20,000 simulated agents
	@$(GO) test -count=1 -timeout 30m -run '^TestRendezvous$$' -v ./rendezvous/bench -bench-rendezvous $(BENCHFLAGS)
	@$(GO) test -count=1 -timeout 30m -run '^TestBenchRelay$$' -v ./rendezvous -bench-relay $(RELAYFLAGS)

bench-peers: setup-test ## 20,000 simulated agents at an instance in a guest, whatever this machine's limit of open files
	@$(GO) test -count=1 -timeout 90m -run '^TestBenchPeers$$' -v ./deploy/e2e -bench-peers

bench-relay: setup-test ## measure the relay beside coturn
	@$(GO) test -count=1 -timeout 30m -run '^TestBenchRelay$$' -v ./rendezvous -bench-relay $(BENCHFLAGS)

packages: setup ## .deb and .rpm of both programs in bin/packages
	@deploy/packages/package.sh $(VERSION)

vulncheck: setup ## known flaws in what is called; VULNDB is the database
	@GO="$(GO)" deploy/setup/vulncheck.sh $(VULNDB)

sbom: build ## what each program is made of, in bin/sbom (CycloneDX)
	@mkdir -p bin/sbom
	@for p in easyfind easyfind-rendezvous; do $(GO) run $(CYCLONEDX) bin -json -std -version $(VERSION) -output bin/sbom/$$p.cdx.json bin/$$p || exit 1; done

setup-compose: setup-test
	@deploy/setup/setup.sh compose

test-compose: setup-compose ## docker-compose.yml in a daemon of its own (root)
	@deploy/docker/test/try.sh

clean: ## remove what was built
	@rm -rf bin
