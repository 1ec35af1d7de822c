# SPDX-License-Identifier: Apache-2.0
# Peers by other TLS libraries than OpenSSL, and by OpenSSL as others use it (tests/peers).

PEERS := openssl gnutls nss
PEER_PROGRAMS := $(PEERS:%=$(BUILD)/tests/peers/%)
PEER_LIBS_openssl = openssl
PEER_LIBS_gnutls = gnutls
PEER_LIBS_nss = nss nspr
$(PEER_PROGRAMS): $(BUILD)/tests/peers/%: tests/peers/%.c $(addprefix tests/peers/,main.c plan.c session.c peer.h) \
		$(call mod_libs,base)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/peers $(shell pkg-config --cflags $(PEER_LIBS_$*)) $(ALL_LDFLAGS) -o $@ \
		$(filter %.c %.a,$^) $(shell pkg-config --libs $(PEER_LIBS_$*)) -pthread

.PHONY: peer-programs test-peers java-deps
peer-programs: $(PEER_PROGRAMS) ## builds peers by other TLS libraries

# PEER_PAIRS="gnutls nss:java": client and node; PEER_SESSIONS=N of each.
PEER_SESSIONS ?= 500
test-peers: all peer-programs ## sessions between peers by other TLS libraries
	@HOMING_BUILD=$(abspath $(BUILD)) /usr/bin/python3 tests/peers/run.py --sessions $(PEER_SESSIONS) $(PEER_PAIRS)
java-deps: ## installs Java, by which test-peers then has peers as well
	@tests/tools/deps.sh java
