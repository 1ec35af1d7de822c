# SPDX-License-Identifier: Apache-2.0
# deps, test, demo.

JOBS ?= $(shell nproc)
TSAN_TESTS := $(addprefix build-tsan/tests/unit/,mapping/mapping mapping/reload loop/loop \
	session/auth_events)

.PHONY: build-deps demo-deps
deps: ## installs the Debian packages that are missing, of build and tests
	@tests/tools/deps.sh tests
build-deps: ## only those of the build
	@tests/tools/deps.sh build
demo-deps: ## only those of the demo
	@tests/tools/deps.sh demo

test: deps ## all tests
	@echo "building (optimised, sanitizers, ThreadSanitizer, fuzzers)"
	@$(MAKE) -s --no-print-directory -j$(JOBS) all build/tests/toml-decoder build/tests/schema-doc \
		$(addprefix build/bench/,lightnode load cache lookups) relay-tests store-tests flood-tests build/tests/unit/relay/relay build/tests/unit/relay/stall
	@$(MAKE) -s --no-print-directory -j$(JOBS) SAN=1 all unit-build relay-tests store-tests \
		$(addprefix build-san/bench/,lightnode load)
	@$(MAKE) -s --no-print-directory -j$(JOBS) TSAN=1 all store-tests $(TSAN_TESTS)
	@$(MAKE) -s --no-print-directory -j$(JOBS) fuzz-build
	@MAKE="$(MAKE)" /usr/bin/python3 tests/tools/run-tests.py

demo: demo-deps ## the main job, live
	@$(MAKE) -s --no-print-directory -j$(JOBS) all
	@/usr/bin/python3 tests/demo/demo.py
