# SPDX-License-Identifier: Apache-2.0
# deps, check, test, test-all, demo.

JOBS ?= $(shell nproc)
TSAN_TESTS := $(addprefix build-tsan/tests/unit/,mapping/mapping mapping/cache mapping/reload loop/loop store/pool \
	session/auth)

.PHONY: build-deps demo-deps check end-to-end-build test-build test-rest test-all releases
deps: ## installs the Debian packages that are missing, of build and tests
	@tests/tools/deps.sh tests
build-deps: ## only those of the build
	@tests/tools/deps.sh build
demo-deps: ## only those of the demo
	@tests/tools/deps.sh demo

# What the tests of a flavour run; each flavour is built once.
E2E_BUILD = all relay-tests store-tests $(addprefix $(BUILD)/bench/,lightnode load pause.so)
ifeq ($(SAN),1)
TEST_BUILD = $(E2E_BUILD) unit-build
else ifeq ($(TSAN),1)
TEST_BUILD = all store-tests $(TSAN_TESTS)
else
TEST_BUILD = $(E2E_BUILD) unit-build flood-tests $(BUILD)/tests/toml-decoder $(BUILD)/tests/schema-doc \
	$(addprefix $(BUILD)/bench/,cache lookups)
endif
end-to-end-build: $(E2E_BUILD) ## builds what the end-to-end tests run (of one build: SAN=1)
test-build: $(TEST_BUILD) ## builds what the tests run (of one build: SAN=1, TSAN=1)

# TEST_PARTS: some of the parts in tests/tools/run-tests.py.
export TEST_PARTS JOBS
run_tests = MAKE="$(MAKE)" /usr/bin/python3 tests/tools/run-tests.py
check: deps ## after each change, two minutes: static checks, lint, unit tests, a smoke test
	@$(run_tests) check
test: deps ## the tests, at most 15 minutes on two cores
	@$(run_tests) test
test-rest: deps ## what test-all runs after test
	@$(run_tests) rest

# Both count together: the last line is of all that ran.
test-all: ## all tests, what CI runs: test, then test-rest
	@tally=$$(mktemp -u); failed=0; \
	TEST_TALLY=$$tally TEST_PARTS= $(MAKE) --no-print-directory test || failed=1; \
	TEST_TALLY=$$tally TEST_PARTS= $(MAKE) --no-print-directory test-rest || failed=1; \
	rm -f $$tally; exit $$failed

# MINUTES=60; HOMING_BUILD=DIR: another build of the router.
.PHONY: soak
soak: all $(addprefix $(BUILD)/bench/,lightnode load) ## mixed load for an hour: nothing lost, nothing that waits for ever
	@HOMING_BUILD=$${HOMING_BUILD:-$(abspath $(BUILD))} /usr/bin/python3 tests/soak/soak.py $(or $(MINUTES),60)

demo: demo-deps ## the main job, live
	@$(MAKE) -s --no-print-directory -j$(JOBS) all
	@/usr/bin/python3 tests/demo/demo.py

# RELEASES=trixie: only that one. TEST_PARTS="unit e2e": only these parts of make test.
# BENCH="vm-bench bench": these benchmarks there instead, pages in docs/RELEASE.
releases: ## README's commands on minimal systems of Debian 12 and 13
	@/usr/bin/python3 tests/tools/releases.py $(RELEASES) --parts "$(TEST_PARTS)" --bench "$(BENCH)"
