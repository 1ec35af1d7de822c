# SPDX-License-Identifier: Apache-2.0
# What runs in every guest. `run NAME COMMAND...` is one test, `cmocka` and `pytest` count theirs.
run() {
	name=$1
	shift
	if "$@" > /tmp/out 2>&1; then
		echo "VMTEST ok $name"
	else
		cat /tmp/out
		echo "VMTEST FAILED $name"
	fi
}

cmocka() {
	"$@" || echo "exit $?"
}

pytest() {
	/usr/bin/python3 -m pytest -q --color=no -p no:cacheprovider -rs --tb=short "$@"
}

export HOMING_BUILD=/homing/build
build/homingd --probe
# Without a choice on the kernel's command line all of it.
parts=$(sed -n 's/.*homing\.parts=\([a-z,0-9]*\).*/\1/p' /proc/cmdline)
wanted() {
	case ",${parts:-$1}," in
	*",$1,"*) ;;
	*) return 1 ;;
	esac
}

relay() {
	run torture-copy build/tests/relay/torture copy 100
	tail -3 /tmp/out
	run torture-sockmap build/tests/relay/torture sockmap 1000
	tail -3 /tmp/out
	# 3: this kernel is refused the path, which the rows of the probe above have said
	run torture-bypass sh -c 'build/tests/relay/torture bypass 300 || [ $? = 3 ]'
	tail -3 /tmp/out
	run torture-record build/tests/relay/torture record 1000
	tail -3 /tmp/out
	run torture-ktls build/tests/relay/torture ktls 500
	tail -3 /tmp/out
	cmocka build/tests/unit/relay/relay
	cmocka build/tests/unit/relay/stall
	cmocka build/tests/unit/relay/later
	cmocka build/tests/unit/relay/edges
	cmocka build/tests/unit/relay/edges_plain
	cmocka build/tests/unit/relay/bypass
	cmocka build/tests/relay/ktls
}

# Short, and of the kernel: with the guard's part, which runs on every kernel.
GUARD_E2E="vm/e2e/test_guard.py vm/e2e/test_bypass.py"

guard() {
	cmocka build/tests/unit/bpfctl/guard
	cmocka build/tests/unit/bpfctl/guard_decision
	cmocka build/tests/unit/bpfctl/guard_xdp
	cmocka build/tests/unit/net/sock
	cmocka build/tests/unit/net/tcpinfo
	pytest $GUARD_E2E
}

# A router and an agent: what sockmap at the one and kernel TLS at the other add, with
# random sessions. The rest of handoff is the same on each kernel.
HANDOFF_E2E="vm/e2e/test_handoff_ktls.py"

handoff() {
	export TORTURE_SECONDS=4
	pytest $HANDOFF_E2E
}

if wanted relay; then relay; fi
if wanted guard; then guard; fi
if wanted e2e; then pytest vm/e2e $(printf ' --ignore=%s' $GUARD_E2E $HANDOFF_E2E); fi
if wanted handoff; then handoff; fi
