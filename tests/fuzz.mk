# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets: tests/fuzz/NAME/fuzz_NAME.c with the sources of the modules they need, under
# AddressSanitizer and UndefinedBehaviorSanitizer. FUZZ_SECONDS each, from the committed corpus.

FUZZ_SECONDS ?= 60
FUZZ_DIR := $(if $(filter build,$(BUILD)),build-fuzz,$(BUILD)/fuzz)
FUZZ_NAMES := $(notdir $(patsubst %/,%,$(dir $(wildcard tests/fuzz/*/fuzz_*.c))))
FUZZ_BIN := $(FUZZ_NAMES:%=$(FUZZ_DIR)/fuzz_%)
FUZZ_SRC := $(foreach m,base loop net record tls handoff proto identity route store config,$(call mod_src,$(m)))
FUZZ_OBJ := $(FUZZ_SRC:userspace/%.c=$(FUZZ_DIR)/obj/%.o)
FUZZ_FLAGS := -std=gnu11 -D_GNU_SOURCE -DHOMING_VERSION='"$(VERSION)"' -g -O1 -Iuserspace -Iinclude -Itests \
	$(NL_CFLAGS) -fno-omit-frame-pointer -pthread

$(FUZZ_DIR)/obj/%.o: userspace/%.c
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=undefined $(CPPFLAGS) -MMD -MP -c $< -o $@

$(FUZZ_DIR)/libfuzzed.a: $(FUZZ_OBJ)
	rm -f $@
	ar rcs $@ $^

define fuzz_rule
$(FUZZ_DIR)/fuzz_$(1): tests/fuzz/$(1)/fuzz_$(1).c $(FUZZ_DIR)/libfuzzed.a
	$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
		-o $$@ $$< $(FUZZ_DIR)/libfuzzed.a $(LIBS)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_rule,$(n))))

fuzz-build: $(FUZZ_BIN) ## builds the fuzz targets
fuzz: fuzz-build ## FUZZ_SECONDS (60) of each fuzz target
	/usr/bin/python3 tests/tools/run-fuzz.py $(FUZZ_SECONDS) $(FUZZ_BIN)
fuzz-long: ## an hour of each
	$(MAKE) fuzz FUZZ_SECONDS=3600

-include $(shell test -d $(FUZZ_DIR) && find $(FUZZ_DIR) -name '*.d')
