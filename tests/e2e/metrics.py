# SPDX-License-Identifier: Apache-2.0
"""/metrics as a scraper reads it."""

import http.client
import re
import ssl

import harness


def fetch(router, token=harness.TOKEN):
    context = ssl.create_default_context(cafile=router.cert)
    conn = http.client.HTTPSConnection("localhost", router.ports["admin"], timeout=30,
                                       context=context)
    conn.request("GET", "/metrics", headers={"Authorization": "Bearer " + token} if token else {})
    answer = conn.getresponse()
    text = answer.read().decode()
    conn.close()
    return answer, text


def values(text):
    return {key: float(value) for key, value in re.findall(r"^(homing\S+) (\S+)$", text, re.M)}
