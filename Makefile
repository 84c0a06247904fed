# The commands of this repository. `make demo` shows what einloom does, `make test` checks that it does it; both install what
# is missing first (see .ci/setup.sh).

SHELL := /bin/sh
export PATH := $(PATH):$(HOME)/.cargo/bin

target := $(or $(CARGO_TARGET_DIR),target)

einloom := $(target)/release/einloom
spec    := dsl-examples/causal.ein
demo    := $(target)/demo

.PHONY: help demo test build release setup setup-build fmt lint bless bench docs clean

help:
	@echo "make demo      check, explain, compile, run and verify $(spec)"
	@echo "make test      run every test"
	@echo "make build     build the command line for development: $(target)/debug/einloom"
	@echo "make release   build the portable command line: $(einloom)"
	@echo "make setup     install what is missing (packages, ptxas, nvdisasm)"
	@echo "make bless     rewrite kernels-generated/ and the snapshots from what the compiler says now"
	@echo "make bench     time the compiler"
	@echo "make fmt lint docs clean"

demo: setup release
	sh .ci/demo.sh $(einloom) $(spec) $(demo)

test: setup
	cargo test --locked --workspace --no-fail-fast

build: setup-build
	cargo build --locked -p einloom --features dynamic-llvm

release: setup-build
	cargo build --locked --release -p einloom
	sh .ci/check-binary.sh $(einloom)

setup:
	@sh .ci/setup.sh

setup-build:
	@sh .ci/setup.sh build

fmt:
	cargo fmt --all
	@if [ -x $(einloom) ]; then $(einloom) fmt dsl-examples/*.ein; fi

lint: setup-build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# Goldens of the suite first, then the snapshots of the crates; what fails for another reason is reported at the end.
bless: setup
	@status=0; \
	for group in kernels:: assembly:: stale messages:: cli:: manual::; do \
		EINLOOM_BLESS=1 cargo test --locked -q -p einloom-tests --test suite -- $$group || status=1; \
	done; \
	INSTA_UPDATE=always EINLOOM_BLESS=1 cargo test --locked -q --workspace --exclude einloom-tests || status=1; \
	exit $$status

bench: setup-build
	cargo bench --locked -p einloom-tests

docs:
	mdbook build docs

clean:
	cargo clean
	rm -rf .tools
