# SPDX-License-Identifier: Apache-2.0
"""How long tests wait, and for what."""

import time

# Sanitizers make everything slower; deadlines of the tests are generous anyway.
PATIENCE = 30.0


def wait_until(what, timeout=PATIENCE, interval=0.02):
    """Polls until what() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for %r" % (what,))
        time.sleep(interval)
