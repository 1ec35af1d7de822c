# SPDX-License-Identifier: Apache-2.0
# Programs that load the stores.

STORE_TESTS := $(patsubst tests/stores/%.c,$(BUILD)/tests/stores/%,$(wildcard tests/stores/*.c))
$(STORE_TESTS): $(BUILD)/tests/stores/%: tests/stores/%.c $(call mod_libs,$(MODS_mapping))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_mapping))

.PHONY: store-tests
store-tests: $(STORE_TESTS) ## builds the programs that load the stores
