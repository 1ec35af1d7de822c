# SPDX-License-Identifier: Apache-2.0
# deps, test, demo.

JOBS ?= $(shell nproc)
TSAN_TESTS := $(addprefix build-tsan/tests/unit/,mapping/mapping mapping/reload loop/loop \
	session/auth_events)

.PHONY: build-deps demo-deps releases
deps: ## installs the Debian packages that are missing, of build and tests
	@tests/tools/deps.sh tests
build-deps: ## only those of the build
	@tests/tools/deps.sh build
demo-deps: ## only those of the demo
	@tests/tools/deps.sh demo

# TEST_PARTS: some of the parts in tests/tools/run-tests.py; without sanitizers, only the plain build.
export TEST_PARTS
PLAIN_TESTS := all build/tests/toml-decoder build/tests/schema-doc relay-tests store-tests flood-tests \
	$(addprefix build/bench/,lightnode load cache lookups) \
	$(addprefix build/tests/unit/relay/,relay stall)
test: deps ## all tests
ifneq ($(if $(TEST_PARTS),$(filter sanitizers,$(TEST_PARTS)),yes),)
	@echo "building (optimised, sanitizers, ThreadSanitizer, fuzzers)"
	@$(MAKE) -s --no-print-directory -j$(JOBS) $(PLAIN_TESTS)
	@$(MAKE) -s --no-print-directory -j$(JOBS) SAN=1 all unit-build relay-tests store-tests \
		$(addprefix build-san/bench/,lightnode load)
	@$(MAKE) -s --no-print-directory -j$(JOBS) TSAN=1 all store-tests $(TSAN_TESTS)
	@$(MAKE) -s --no-print-directory -j$(JOBS) fuzz-build
else
	@echo "building (optimised)"
	@$(MAKE) -s --no-print-directory -j$(JOBS) $(PLAIN_TESTS) unit-build
endif
	@MAKE="$(MAKE)" /usr/bin/python3 tests/tools/run-tests.py

demo: demo-deps ## the main job, live
	@$(MAKE) -s --no-print-directory -j$(JOBS) all
	@/usr/bin/python3 tests/demo/demo.py

# RELEASES=trixie: only that one. TEST_PARTS="unit e2e": only these parts of make test.
releases: ## README's commands on minimal systems of Debian 12 and 13
	@/usr/bin/python3 tests/tools/releases.py $(RELEASES) --parts "$(TEST_PARTS)"
