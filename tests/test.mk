# SPDX-License-Identifier: Apache-2.0
# deps, test, demo.

JOBS ?= $(shell nproc)
TSAN_TESTS := build-tsan/tests/unit/mapping/mapping build-tsan/tests/unit/loop/loop

deps:
	@tests/tools/deps.sh

test: deps
	@echo "building (optimised, sanitizers, ThreadSanitizer, fuzzers)"
	@$(MAKE) -s --no-print-directory -j$(JOBS) all build/tests/toml-decoder build/tests/schema-doc \
		build/bench/lightnode build/bench/idleload
	@$(MAKE) -s --no-print-directory -j$(JOBS) SAN=1 all unit-build
	@$(MAKE) -s --no-print-directory -j$(JOBS) TSAN=1 all $(TSAN_TESTS)
	@$(MAKE) -s --no-print-directory -j$(JOBS) fuzz-build
	@MAKE="$(MAKE)" /usr/bin/python3 tests/tools/run-tests.py

demo: deps
	@$(MAKE) -s --no-print-directory -j$(JOBS) all
	@/usr/bin/python3 tests/demo/demo.py
