# SPDX-License-Identifier: Apache-2.0
"""The table of docs/performance.md: honest clients one after the other, while each kind of flood lasts."""

import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
import floods  # noqa: E402
import harness  # noqa: E402

SECONDS = 6


def main():
    workspace = harness.Workspace("homing-floods-")
    harness.router.PATIENCE = harness.clients.PATIENCE = SECONDS
    for kind in floods.KINDS:
        router = floods.flooded_router(workspace).start()
        try:
            waits, _ = floods.measure(router, kind, SECONDS,
                                      os.path.join(os.environ["FLOODS"], "flood"))
        finally:
            router.process.kill()
            router.process.wait()
        answered = [wait for wait in waits if wait is not None]
        print("| %s | %d of %d, %s |" % (kind, len(answered), len(waits),
                                         "%.0f ms" % statistics.median(answered) if answered else "-"),
              flush=True)
    workspace.close()


if __name__ == "__main__":
    main()
