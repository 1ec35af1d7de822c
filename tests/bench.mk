# SPDX-License-Identifier: Apache-2.0
# Benchmarks: print figures, assert only that the work was done.

BENCH_PROGRAMS := $(addprefix $(BUILD)/bench/,lightnode load pause.so)

# Preloaded into routers, so that all wake up as often.
$(BUILD)/bench/pause.so: tests/bench/pause.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

$(BUILD)/bench/%.o: tests/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# load.c, load_*.c and what both ends share.
bench_obj = $(patsubst tests/%.c,$(BUILD)/%.o,$(wildcard tests/bench/$(1).c tests/bench/$(1)_*.c)) \
	$(BUILD)/bench/peer.o
$(BUILD)/bench/load: $(call bench_obj,load) $(call mod_libs,$(MODS_tls))
	$(CC) $(ALL_LDFLAGS) -o $@ $(call bench_obj,load) $(call link_libs,$(MODS_tls))
$(BUILD)/bench/lightnode: $(call bench_obj,lightnode) $(call mod_libs,$(MODS_tls))
	$(CC) $(ALL_LDFLAGS) -o $@ $(call bench_obj,lightnode) $(call link_libs,$(MODS_tls))

STORE_BENCH := $(addprefix $(BUILD)/bench/,cache lookups)
$(STORE_BENCH): $(BUILD)/bench/%: tests/bench/%.c $(call mod_libs,$(MODS_mapping))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_mapping))

# The cache, and stores beside their own benchmark programs.
bench-stores: all $(STORE_BENCH) ## benchmark: the cache and the stores
	@$(BUILD)/bench/cache
	@/usr/bin/python3 tests/bench/stores.py

# Homing beside other routers; a complete run writes docs/benchmarks.md. ONLY="logins ping": these parts.
bench: deps all $(BENCH_PROGRAMS) ## benchmark: beside other routers
	@HOMING_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/bench/bench.py $(ONLY)
.PHONY: bench bench-stores

# What a client can make the router compute before it has shown anything: the table of docs/security.md.
$(BUILD)/bench/hello: tests/bench/hello.c $(call mod_libs,$(MODS_config))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_config))
bench-hello: $(BUILD)/bench/hello ## benchmark: what a ClientHello costs
	@$<
.PHONY: bench-hello

# What the guard costs a login, with nothing known and with all that may be.
$(BUILD)/bench/guard: tests/bench/guard.c $(call mod_libs,$(MODS_guard))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_guard))
bench-guard: $(BUILD)/bench/guard ## benchmark: what the guard costs a login
	@$<
.PHONY: bench-guard

# CPU per HTTP request beside nginx and HAProxy, and with OpenSSL to the end; needs them and wrk.
bench-http: deps all ## benchmark: HTTP requests beside nginx and HAProxy
	@HOMING_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/bench/http_requests.py
.PHONY: bench-http

# Two plain legs and a node on this host: every data path beside no router.
$(BUILD)/bench/paths: tests/bench/paths.c $(call mod_libs,$(MODS_relay))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(call link_libs,$(MODS_relay))
bench-paths: $(BUILD)/bench/paths ## benchmark: data paths of plain legs with a node on this host
	@$<
.PHONY: bench-paths

# What the guard's layers cost and save; in namespaces of its own. ONLY="syn ordinary honest": these parts.
$(BUILD)/bench/%.bpf.o: tests/bench/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -target bpf -O2 -g -Wall -Werror $(NO_PATHS) -idirafter /usr/include/$(shell $(CC) -print-multiarch) \
		-MMD -MP -c $< -o $@
$(BUILD)/bench/%.skel.h: $(BUILD)/bench/%.bpf.o
	bpftool gen skeleton $< name $* > $@.tmp
	mv $@.tmp $@
$(BUILD)/bench/synflood: $(BUILD)/bench/synflood.skel.h
GUARD_BENCH := $(addprefix $(BUILD)/bench/,synflood guard_hooks guesser)
$(GUARD_BENCH): $(BUILD)/bench/%: tests/bench/%.c $(call mod_libs,$(MODS_relay))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -isystem $(BUILD)/bench -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< \
		$(call link_libs,$(MODS_relay))
bench-hooks: all $(GUARD_BENCH) $(BENCH_PROGRAMS) ## benchmark: bans at each hook, floods, honest clients
	@HOMING_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/bench/guard.py $(ONLY)
.PHONY: bench-hooks
