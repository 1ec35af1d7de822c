# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fixtures import make, network, pair, pytest_runtest_call, sink, workspace  # noqa: E402,F401
