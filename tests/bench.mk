# SPDX-License-Identifier: Apache-2.0
# Benchmarks: print figures, assert only that the work was done.

$(BUILD)/bench/lightnode $(BUILD)/bench/idleload: $(BUILD)/bench/%: tests/bench/%.c \
		$(call mod_libs,$(MODS_tls))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_tls))

bench: all $(BUILD)/bench/lightnode $(BUILD)/bench/idleload
	@/usr/bin/python3 tests/bench/idle.py 5000
