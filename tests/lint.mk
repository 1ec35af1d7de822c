# SPDX-License-Identifier: Apache-2.0
# A second reader: clang-tidy (.clang-tidy says what it looks for) and cppcheck. Each file is read again when it,
# a header of its, or the list of checks has changed.

# Versions judge differently: this one is in all releases of Debian that are supported.
CLANG_TIDY ?= clang-tidy-19
LINT_SRC := $(filter-out %_$(OTHER_TLS).c,$(wildcard userspace/*.c userspace/*/*.c))
LINT_OK := $(LINT_SRC:userspace/%.c=$(BUILD)/lint/%.ok)
LINT_FLAGS := -D_GNU_SOURCE -DHOMING_VERSION='"$(VERSION)"' $(TLS_CFLAGS) -Iuserspace -Iinclude -isystem $(BUILD)/gen
CPPCHECK = cppcheck --quiet --std=c11 --enable=warning,portability,performance \
	--suppressions-list=tests/tools/cppcheck.txt --error-exitcode=1 -j $(JOBS) \
	--template='{file}:{line}: {message} [{id}]'

# The object file knows the headers.
$(BUILD)/lint/%.ok: userspace/%.c .clang-tidy $(BUILD)/obj/%.o
	@mkdir -p $(@D)
	@$(CLANG_TIDY) --quiet $< -- -std=gnu11 $(LINT_FLAGS) $(NL_CFLAGS) > $@.tmp 2>&1 || \
		{ grep -v ' warnings* generated' $@.tmp; rm -f $@.tmp; exit 1; }
	@mv $@.tmp $@

.PHONY: lint
lint: $(LINT_OK) ## a second reader: clang-tidy and cppcheck
	@mkdir -p $(BUILD)/lint/cppcheck
	@$(CPPCHECK) --cppcheck-build-dir=$(BUILD)/lint/cppcheck $(LINT_FLAGS) userspace
