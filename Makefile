# husk: the targets that a person needs. `make help` lists them.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# Where cargo puts things; a caller may have it elsewhere.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help build run test check bench fmt clean install deps

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what building and testing need (Debian packages, the musl target)
	@scripts/install-dependencies

build: ## Build the release binary: one file, target/release/husk
	$(CARGO) build --release -p husk

run: deps build ## See it work: two pods on a private node, then everything taken down
	HUSK_BIN=$(TARGET)/release/husk $(CARGO) run -q -p husk-tests --bin husk-demo

test: deps ## Run every tier of tests: units, kernel, end to end, crictl, fuzz
	tests/tiers

check: ## Format, lints, documentation, architecture: what a commit must pass
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps -q
	$(CARGO) test -q -p husk-tests --test architecture

bench: deps build ## Measure each call beside the kernel's own price, back to back and paced
	HUSK_BIN=$(TARGET)/release/husk $(CARGO) run --profile harness -q -p husk-tests --bin husk-bench

fmt: ## Format the code
	$(CARGO) fmt --all

clean: ## Remove what was built
	$(CARGO) clean

install: build ## Install to DESTDIR/PREFIX/bin
	install -D -m 0755 $(TARGET)/release/husk $(DESTDIR)$(PREFIX)/bin/husk
