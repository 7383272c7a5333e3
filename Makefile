# Every target does its own set-up. `make help` lists them.
SHELL := /bin/sh
export CGO_ENABLED ?= 1
GO = $(shell deploy/setup/go.sh)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
SOURCES := agent deploy internal migrations proto rendezvous *.go
FUZZTIME ?= 20s
SOAKTIME ?= 10m
# How often a failed test of whole machines is run again; see deploy/setup/test.sh.
RERUNS ?= 0
VERSION ?= 0.1.0
RELAYFLAGS ?= -bench-rounds 1
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
VULNDB ?= https://vuln.go.dev

.PHONY: help setup setup-test setup-compose build demo test test-compose lint fmt fuzz soak-storage
.PHONY: bench bench-rendezvous bench-peers bench-relay bench-link bench-priority bench-isochronous bench-cpu
.PHONY: packages vulncheck sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

setup: ## install the packages that a build needs (Debian, Ubuntu; root or sudo)
	@deploy/setup/setup.sh build

setup-test: ## install the packages that the tests need in addition
	@deploy/setup/setup.sh test

build: setup ## build bin/easyfind and bin/easyfind-rendezvous
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./agent/cmd/... ./rendezvous/cmd/... ./deploy/load/cmd/...

demo: build ## run a rendezvous, a host and a client here and share a virtual disk and keyboard
	@bin/easyfind-demo

test: setup-test lint ## run every test that this machine permits
	@echo "testing; the first results come after some minutes"
	@GO="$(GO)" deploy/setup/test.sh $(RERUNS)
	@$(GO) test -race -shuffle=on -tags libusb ./agent/internal/usb/libusb
	@$(GO) test -race -shuffle=on -tags stockquic ./agent/internal/link/quiclink
	@$(GO) test -count=1 -run '^TestChaos$$' ./agent/internal/session -args -chaos 2000
	@$(GO) test -C deploy/helm/charttest -shuffle=on ./...

lint: setup ## check the format, go vet, staticcheck
	@out=$$($(GO) run $(GOFUMPT) -l $(SOURCES)) && test -z "$$out" || \
		{ echo "not formatted, run make fmt: $$out"; exit 1; }
	@$(GO) vet ./...
	@$(GO) run $(STATICCHECK) ./...

fmt: setup ## format the code
	@$(GO) run $(GOFUMPT) -w $(SOURCES)

fuzz: setup-test ## fuzz every decoder for FUZZTIME (20s)
	@GO="$(GO)" deploy/setup/fuzz.sh $(FUZZTIME)

bench: build setup-test ## measure remote devices, with stock usbip in the same run (root)
	@$(GO) test -count=1 -timeout 24h -run '^TestBenchUSB$$' -v ./deploy/e2e -bench-usb $(BENCHFLAGS)

bench-rendezvous: setup-test ## measure the rendezvous under 20,000 simulated agents
	@$(GO) test -count=1 -timeout 30m -run '^TestRendezvous$$' -v ./rendezvous/bench -bench-rendezvous $(BENCHFLAGS)
	@$(GO) test -count=1 -timeout 30m -run '^TestBenchRelay$$' -v ./rendezvous -bench-relay $(RELAYFLAGS)

bench-peers: setup-test ## connect 20,000 simulated agents to an instance in a guest
	@$(GO) test -count=1 -timeout 90m -run '^TestBenchPeers$$' -v ./deploy/e2e -bench-peers

bench-relay: setup-test ## measure the relay, with coturn in the same run
	@$(GO) test -count=1 -timeout 30m -run '^TestBenchRelay$$' -v ./rendezvous -bench-relay $(BENCHFLAGS)

bench-cpu: setup-test ## measure the agents' processor time per GB on loopback
	@$(GO) test -count=1 -timeout 30m -run '^$$' -bench Throughput ./agent $(BENCHFLAGS)

bench-link: setup-test ## measure QUIC links over emulated links, with TCP in the same run (root)
	@$(GO) test -count=1 -timeout 30m -run TestBenchLink -v ./agent/internal/link/quiclink -bench-link $(BENCHFLAGS)

bench-isochronous: setup-test ## count the gaps of audio and video over emulated links (root)
	@$(GO) test -count=1 -timeout 30m -run '^TestBenchIsochronous$$' -v ./agent -bench-isochronous $(BENCHFLAGS)

bench-priority: setup-test ## measure key presses next to a disk that fills an emulated link (root)
	@$(GO) test -count=1 -timeout 10m -run '^TestBenchPriority$$' -v ./agent -bench-priority $(BENCHFLAGS)

soak-storage: setup-test ## compare a disk with what was written to it, for SOAKTIME (10m)
	@$(GO) test -count=1 -timeout 24h -run '^TestSoakStorage$$' -v ./agent/internal/stage/storage -soak $(SOAKTIME)

packages: setup ## build .deb and .rpm of both programs in bin/packages
	@deploy/packages/package.sh $(VERSION)

vulncheck: setup ## look for known vulnerabilities in the called code; VULNDB is the database
	@GO="$(GO)" deploy/setup/vulncheck.sh $(VULNDB)

sbom: build ## list the modules of each program in bin/sbom (CycloneDX)
	@mkdir -p bin/sbom
	@for p in easyfind easyfind-rendezvous; do \
		$(GO) run $(CYCLONEDX) bin -json -std -version $(VERSION) -output bin/sbom/$$p.cdx.json bin/$$p || exit 1; \
	done

setup-compose: setup-test
	@deploy/setup/setup.sh compose

test-compose: setup-compose ## test docker-compose.yml in its own Docker daemon (root)
	@deploy/docker/test/try.sh

clean: ## remove bin/
	@rm -rf bin
