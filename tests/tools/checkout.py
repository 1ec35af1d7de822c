# SPDX-License-Identifier: Apache-2.0
"""The files of this tree as they are now."""

import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(*patterns, others=True):
    """Names of what is under version control, without what is gone; others: and of what could be."""
    more = ("--others", "--exclude-standard") if others else ()
    out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", *more, "--", *patterns],
                         cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in out.split("\0") if name and os.path.isfile(os.path.join(ROOT, name))]


def copy(names, directory):
    for name in names:
        target = os.path.join(directory, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(ROOT, name), target)
