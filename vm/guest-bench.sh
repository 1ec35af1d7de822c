# SPDX-License-Identifier: Apache-2.0
# What `make vm-bench` runs in a guest whose clock counts instructions.
export HOMING_BUILD=/homing/build
/usr/bin/python3 tests/bench/relay_tls.py 5 && echo "VMTEST ok bench"
