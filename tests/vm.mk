# SPDX-License-Identifier: Apache-2.0
# Tests in virtual machines, on the kernels of vm/kernels.txt.

.PHONY: vm-build vm-test vm-shell vm-bench
VM_UNIT = $(addprefix $(BUILD)/tests/unit/,relay/relay relay/stall relay/later relay/edges relay/edges_plain bpfctl/guard bpfctl/guard_decision \
	bpfctl/guard_xdp net/sock net/tcpinfo)
vm-build: all relay-tests $(BENCH_PROGRAMS) $(VM_UNIT) ## builds what runs in virtual machines

vm-build: $(BUILD)/tests/unit/relay/bypass
vm-test: vm-build ## the kernels of vm/kernels.txt
	/usr/bin/python3 vm/run.py

KERNEL ?= bookworm-6.1
vm-shell: vm-build ## a shell in one (KERNEL=)
	/usr/bin/python3 vm/run.py --kernel $(KERNEL) --shell

# The guest's clock counts instructions: figures that repeat, whatever else the machine does.
# QUICK=1: Homing only, one round. BASELINE=write: these figures are the baseline from now on.
BASELINE ?= check
vm-bench: vm-build ## instructions and memory of each data path
	@/usr/bin/python3 vm/bench.py --kernel $(KERNEL) --cc $(CC) --clang $(CLANG) \
		--baseline $(BASELINE) $(if $(QUICK),--quick)
