# SPDX-License-Identifier: Apache-2.0
# Programs that attack the relay, on this kernel and in virtual machines.

RELAY_TESTS := $(patsubst tests/relay/%.c,$(BUILD)/tests/relay/%,$(wildcard tests/relay/*.c))
$(RELAY_TESTS): $(BUILD)/tests/relay/%: tests/relay/%.c $(call mod_libs,$(MODS_relay))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Wno-missing-field-initializers -Itests -MMD -MP -MF $@.d \
		$(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_relay)) -lcmocka

.PHONY: relay-tests
relay-tests: $(RELAY_TESTS) ## builds the programs that attack the relay

# The watchdog's test replaces two calls to bring a stall about.
$(BUILD)/tests/unit/relay/stall: ALL_LDFLAGS += -Wl,--wrap=recv -Wl,--wrap=bpfctl_source_add
