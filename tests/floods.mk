# SPDX-License-Identifier: Apache-2.0
# Attackers, and peers that put TLS messages between what they say.

FLOOD_TESTS := $(addprefix $(BUILD)/tests/floods/,flood talk)
$(FLOOD_TESTS): $(BUILD)/tests/floods/%: tests/floods/%.c $(call mod_libs,$(MODS_tls))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Wno-missing-field-initializers -Itests/floods -Itests -MMD -MP -MF $@.d \
		$(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_tls))

.PHONY: flood-tests flood-table
flood-tests: $(FLOOD_TESTS) ## builds the attackers

# Each kind of flood for 6 s; HOMING_BUILD=DIR: another build of the router.
flood-table: flood-tests ## what each kind of flood costs
	@FLOODS=$(abspath $(BUILD))/tests/floods HOMING_BUILD=$${HOMING_BUILD:-$(abspath $(BUILD))} \
		/usr/bin/python3 tests/floods/table.py
