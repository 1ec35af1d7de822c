# SPDX-License-Identifier: Apache-2.0

PREFIX ?= /usr/local
DESTDIR ?=
CC = gcc
CLANG ?= clang
# Versions judge lines differently: this one is in all releases of Debian that are supported.
CLANG_FORMAT ?= clang-format-19
VERSION := 0.1.0

# TLS=aws-lc AWSLC=DIR: AWS-LC instead of the system's OpenSSL, linked from DIR/lib/libssl.a and
# libcrypto.a (docs/tls-library.md), in a directory of its own.
TLS ?= openssl
AWSLC ?= build/aws-lc
ifeq ($(TLS),openssl)
OTHER_TLS := awslc
BUILD_TLS :=
LIBS_TLS := -lssl -lcrypto
else ifeq ($(TLS),aws-lc)
OTHER_TLS := openssl
BUILD_TLS := -aws-lc
TLS_CFLAGS := -isystem $(abspath $(AWSLC))/include
# Others in the process bring OpenSSL: a program's symbols that they ask for would be theirs too.
TLS_LDFLAGS := -Wl,--exclude-libs,libssl.a:libcrypto.a -Wl,-u,tls_library_free
AWSLC_LIBS := $(abspath $(AWSLC))/lib/libssl.a $(abspath $(AWSLC))/lib/libcrypto.a
LIBS_TLS = $(BUILD)/lib/libssl.a $(lastword $(AWSLC_LIBS))
check_tls = @tests/tools/hidden.sh $@ $(AWSLC_LIBS) || { rm -f $@; exit 1; }
ifneq ($(words $(wildcard $(AWSLC_LIBS))),2)
$(error $(AWSLC) has no lib/libssl.a and lib/libcrypto.a: AWSLC=DIR says where they are)
endif
else
$(error TLS is openssl or aws-lc)
endif

ifeq ($(SAN),1)
BUILD ?= build$(BUILD_TLS)-san
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else ifeq ($(TSAN),1)
BUILD ?= build$(BUILD_TLS)-tsan
SAN_FLAGS := -fsanitize=thread -fno-omit-frame-pointer
else
BUILD ?= build$(BUILD_TLS)
HARDEN := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-clash-protection -ftrivial-auto-var-init=zero
ifeq ($(shell uname -m),x86_64)
HARDEN += -fcf-protection
endif
endif

CFLAGS ?= -O2 -g
# Where it was built is in no object: two builds in two directories are equal.
NO_PATHS := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(BUILD)=build
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DHOMING_VERSION='"$(VERSION)"' $(WARN) $(CPPFLAGS) $(CFLAGS) \
	$(HARDEN) $(NO_PATHS) -fPIE -fstack-protector-strong -fno-common -pthread $(SAN_FLAGS) \
	$(TLS_CFLAGS) -Iuserspace -Iinclude -I$(BUILD)/gen
ALL_LDFLAGS = $(LDFLAGS) -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(SAN_FLAGS) $(TLS_LDFLAGS)

# Modules, each a directory of userspace/ and a static library. MODS_x: what x may use, itself
# first; the include check (make layers) and the unit tests' link lines both come from here.
MODULES := base loop net record tls handoff proto identity route store mapping node guard bpfctl relay config router reach session \
	mail http delivery agent worker admin control daemon
MODS_base := base
MODS_loop := loop base
MODS_net := net loop base
MODS_record := record base
MODS_tls := tls record net loop base
MODS_handoff := handoff tls record net loop base
MODS_proto := proto base
MODS_identity := identity base
MODS_route := route proto identity base
MODS_store := store tls record net loop base
MODS_mapping := mapping store tls record net loop base
MODS_node := node net loop base
MODS_guard := guard net loop base
MODS_bpfctl := bpfctl base
MODS_relay := relay bpfctl tls record net loop base
MODS_config := config route proto store identity tls record net loop base
MODS_router := router config handoff route relay bpfctl guard node mapping store identity proto tls record net loop base
MODS_reach := reach $(MODS_router)
MODS_session := session $(MODS_reach)
MODS_mail := mail $(MODS_session)
MODS_http := http $(MODS_session)
MODS_delivery := delivery $(MODS_session)
MODS_agent := agent $(MODS_session)
MODS_worker := worker mail http delivery agent $(MODS_session)
MODS_admin := admin $(MODS_session)
MODS_control := control admin $(MODS_worker)
MODS_daemon := daemon $(MODS_control)
MODS_ctl := ctl config route proto store identity tls record net loop base

LIBS = -lpq -lhiredis -lxdp -lbpf -lelf -lz $(LIBS_TLS) -lsqlite3 -lcares -ljansson -lnl-route-3 -lnl-3 -lpcre2-8 -lseccomp -lm
NL_CFLAGS := -I/usr/include/libnl3 -I/usr/include/postgresql
ALL_CFLAGS += $(NL_CFLAGS)

mod_src = $(filter-out %_$(OTHER_TLS).c,$(wildcard userspace/$(1)/*.c))
mod_obj = $(patsubst userspace/%.c,$(BUILD)/obj/%.o,$(call mod_src,$(1)))
mod_libs = $(foreach m,$(1),$(BUILD)/lib/$(m).a)
link_libs = -Wl,--start-group $(call mod_libs,$(1)) -Wl,--end-group $(LIBS)

BPF_SRC := $(wildcard bpf/*.bpf.c)
BPF_OBJ := $(BPF_SRC:bpf/%.bpf.c=$(BUILD)/bpf/%.bpf.o)
BPF_SKEL := $(BPF_SRC:bpf/%.bpf.c=$(BUILD)/gen/%.skel.h)

.PHONY: all deps test demo install dist layers circles figures format format-check fuzz fuzz-build fuzz-long bench \
	unit-build uninstall clean help
all: $(BUILD)/homingd $(BUILD)/homingctl $(BPF_OBJ) ## builds the programs (default)

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(filter Makefile %.mk,$(MAKEFILE_LIST)) | expand -t 16
	@echo "With SAN=1: AddressSanitizer and UndefinedBehaviorSanitizer, in build-san; TSAN=1: ThreadSanitizer, in"
	@echo "build-tsan; TLS=aws-lc AWSLC=DIR: with AWS-LC, in build-aws-lc; BUILD=DIR: elsewhere. CFLAGS, CPPFLAGS, LDFLAGS, CC, CLANG, PREFIX and DESTDIR count."

$(BUILD)/obj/%.o: userspace/%.c | $(BPF_SKEL)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

define module_rule
$(BUILD)/lib/$(1).a: $(call mod_obj,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach m,$(MODULES) ctl,$(eval $(call module_rule,$(m))))

# What was read lies in memory that libssl gives back by free() and does not wipe: it calls us.
ifeq ($(TLS),aws-lc)
$(BUILD)/lib/base.a: | $(BUILD)/lib/libssl.a
$(BUILD)/lib/libssl.a: $(firstword $(AWSLC_LIBS))
	@mkdir -p $(@D)
	objcopy --redefine-sym free=tls_library_free $< $@
endif

CTL_OBJ := $(call mod_obj,ctl)
CTL_MODS := $(filter-out ctl,$(MODS_ctl))

$(BUILD)/homingd: $(call mod_libs,$(MODS_daemon))
	$(CC) $(ALL_LDFLAGS) -o $@ $(BUILD)/obj/daemon/main.o $(call link_libs,$(MODS_daemon))
	$(check_tls)

$(BUILD)/homingctl: $(CTL_OBJ) $(call mod_libs,$(CTL_MODS))
	$(CC) $(ALL_LDFLAGS) -o $@ $(CTL_OBJ) $(call link_libs,$(CTL_MODS))
	$(check_tls)

# ---- BPF ----
# Of -g the types are kept (BTF, which loading needs). Debian has asm/ in a directory of the machine.
$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -target bpf -O2 -g -Wall -Werror $(NO_PATHS) -Iinclude \
		-idirafter /usr/include/$(shell $(CC) -print-multiarch) -MMD -MP -c $< -o $@
	llvm-strip -g $@

# Kept: make would delete them as intermediate files, and the next run would build again what includes them.
.SECONDARY: $(BPF_SKEL)
$(BUILD)/gen/%.skel.h: $(BUILD)/bpf/%.bpf.o
	@mkdir -p $(@D)
	{ echo '/* NOLINTBEGIN: generated */' && bpftool gen skeleton $< name $* && \
		echo '/* NOLINTEND */'; } > $@.tmp
	mv $@.tmp $@

# ---- tests ----
# tests/unit/MODULE/NAME.c is one cmocka program, linked with what MODULE may use.
UNIT_SRC := $(filter-out %_$(OTHER_TLS).c,$(wildcard tests/unit/*/*.c tests/dialogue/*/*.c))
UNIT_BIN := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)
unit_module = $(word 4,$(subst /, ,$(patsubst $(BUILD)/%,x/%,$(1))))

.SECONDEXPANSION:
$(UNIT_BIN): $(BUILD)/tests/%: tests/%.c $$(call mod_libs,$$(MODS_$$(call unit_module,$$@)))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Wno-missing-field-initializers -Itests -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< \
		$(call link_libs,$(MODS_$(call unit_module,$@))) -lcmocka

unit-build: $(UNIT_BIN) ## builds unit and dialogue tests (of one build: SAN=1)

include $(wildcard tests/*.mk)

LAYERS = python3 tests/tools/layers.py --build $(BUILD)
layers: all ## who includes whom, as MODS_x allows; circles between files
	@$(LAYERS) $(foreach m,$(MODULES) ctl,'$(m)=$(MODS_$(m))')
circles: all ## takes what is no circle any more out of tests/tools/circles.txt
	@$(LAYERS) --shrink
figures: all ## lengths of files and functions, circles
	@python3 tests/tools/figures.py --build $(BUILD)

FORMAT_SRC = $(shell git ls-files '*.c' '*.h')
format: ## formats the C sources
	@$(CLANG_FORMAT) -i $(FORMAT_SRC)
	@python3 tests/tools/columns.py --fix $(FORMAT_SRC)
format-check: ## are they?
	@$(CLANG_FORMAT) --dry-run --Werror $(FORMAT_SRC)
	@python3 tests/tools/columns.py $(FORMAT_SRC)

install: all ## into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILD)/homingd $(DESTDIR)$(PREFIX)/sbin/homingd
	install -m 755 $(BUILD)/homingctl $(DESTDIR)$(PREFIX)/bin/homingctl
	install -d $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(BUILD)/homingctl --man > $(DESTDIR)$(PREFIX)/share/man/man8/homingctl.8
	$(BUILD)/homingctl --completion \
		> $(DESTDIR)$(PREFIX)/share/bash-completion/completions/homingctl

# What install made, and no directory.
uninstall: ## removes what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,sbin/homingd bin/homingctl share/man/man8/homingctl.8 \
		share/bash-completion/completions/homingctl)

# The same bytes of the same commit, wherever they are made.
DIST = $(BUILD)/homing-$(VERSION).tar.gz
dist: ## the source of the last commit as a tarball, $(BUILD)/homing-VERSION.tar.gz
	@mkdir -p $(BUILD)
	git -c safe.directory='*' archive --prefix=homing-$(VERSION)/ -o $(DIST).tar HEAD
	gzip -9nc $(DIST).tar > $(DIST).new
	rm $(DIST).tar
	mv $(DIST).new $(DIST)
	@echo $(DIST)

clean: ## removes all that was built
	rm -rf build build-san build-tsan build-fuzz

# Other directories below it hold what is downloaded and whole systems.
-include $(shell test -d $(BUILD) && find $(BUILD) \( -name packages -o -name clients -o -name vm -o -name releases \) \
	-prune -o -type f -name '*.d' -print)
