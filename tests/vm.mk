# SPDX-License-Identifier: Apache-2.0
# Tests in virtual machines, on the kernels of vm/kernels.txt.

.PHONY: vm-build vm-test vm-shell vm-bench
vm-build: all relay-tests $(BENCH_PROGRAMS) $(BUILD)/tests/unit/relay/relay $(BUILD)/tests/unit/relay/stall

vm-test: vm-build
	/usr/bin/python3 vm/run.py

KERNEL ?= bookworm-6.1
vm-shell: vm-build
	/usr/bin/python3 vm/run.py --kernel $(KERNEL) --shell

# The guest's clock counts instructions: figures that repeat, whatever else the machine does.
vm-bench: vm-build
	/usr/bin/python3 vm/run.py --icount --script vm/guest-bench.sh --verbose --timeout 3000 \
		--kernel $(KERNEL)
