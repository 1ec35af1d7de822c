# SPDX-License-Identifier: Apache-2.0
# Helper programs of the tests, and documentation made from the schema.

$(BUILD)/tests/toml-decoder $(BUILD)/tests/schema-doc: $(BUILD)/tests/%: tests/tools/%.c \
		$(call mod_libs,$(MODS_config))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_config))

.PHONY: toml-test docs docs-check
toml-test: $(BUILD)/tests/toml-decoder ## the TOML collection's cases
	/usr/bin/python3 tests/tools/toml-test.py $<

docs: $(BUILD)/tests/schema-doc ## writes docs/config.md
	@mkdir -p docs
	$< > docs/config.md
docs-check: $(BUILD)/tests/schema-doc ## is it current?
	$< | diff -u docs/config.md -

.PHONY: rules-check
rules-check: ## do code, tests and pages name rules that exist (docs/rules/)?
	@/usr/bin/python3 tests/tools/rules-check.py

.PHONY: tests-check
tests-check: ## has each source its test, or a reason (tests/tools/tested-elsewhere.txt)?
	@/usr/bin/python3 tests/tools/tests-check.py

.PHONY: plain-check
plain-check: ## is what is known of a session plain data?
	@/usr/bin/python3 tests/tools/plain-data.py

# Mail clients from the npm registry; needs node and npm.
.PHONY: test-clients
test-clients: all ## mail clients of the npm registry; needs node and npm
	@HOMING_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/clients/run.py

.PHONY: mutants
mutants: ## takes checks out of the record path one by one: which unit test catches each?
	@/usr/bin/python3 tests/tools/mutants.py $(MUTANTS)
