#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Takes checks out of the record path, one by one, in a copy of the tree, and says which unit test catches it.

    make mutants [MUTANTS=PATTERN]    PATTERN: only rows whose file or purpose contain it

A row is (file below userspace/, what it was for, text, other text); the text stands there exactly once, or the
row is stale. A mutant that no test catches is a failure; so is one that does not compile."""

import os
import re
import subprocess
import sys
import tempfile

import checkout

TESTS = ["record/seal", "record/post", "record/keys", "record/vectors", "record/contexts", "record/connection",
         "tls/keys", "tls/records_said", "tls/records_ends", "tls/records", "tls/records_refused", "tls/records_state",
         "tls/records_asked"]
TIMEOUT_S = 120

SEAL, POST, KEYS, CONTEXTS = ("record/%s.c" % name for name in ("seal", "post", "keys", "contexts"))
CONNECTION = "record/connection.c"
STREAM = "tls/records.c"
SPEECH = "tls/records_out.c"

MUTANTS = [
    # opening and sealing
    ("record/aead.c", "the tag is judged", "return finish(aead) ? 0 : -EBADMSG;", "(void)finish(aead);\n\treturn 0;"),
    (SEAL, "nothing is left of what is refused", "\t\tsecret_wipe(to, text_len);\n", ""),
    (SEAL, "the most that a record holds, sealed", "if (body > RECORD_MAX + (is_13 ? 256u : 2048u))", "if (0)"),
    (SEAL, "the most that a record holds, sealed: one more", "(is_13 ? 256u : 2048u)", "(is_13 ? 257u : 2049u)"),
    (SEAL, "the most that a record holds, sealed: one less", "(is_13 ? 256u : 2048u)", "(is_13 ? 255u : 2047u)"),
    (SEAL, "the most that a record holds, opened", "if (r == 0 && text_len > RECORD_MAX + (inside ? 1u : 0u))",
     "if (r == 0 && text_len > 2 * RECORD_MAX)"),
    (SEAL, "a record of zeros", "\tif (!len)\n\t\treturn -EPROTO;\n\t*ret_text",
     "\tif (!len) {\n\t\t*ret_text = (struct record_text){ RECORD_DATA, 0 };\n\t\treturn 0;\n\t}\n\t*ret_text"),
    (SEAL, "the outer type, TLS 1.3", "is_13 ? header[0] != RECORD_DATA", "is_13 ? 0"),
    (SEAL, "the outer type, TLS 1.2: ChangeCipherSpec", "header[0] < RECORD_ALERT || ", "!header[0] || "),
    (SEAL, "the outer type, TLS 1.2: those above", " || header[0] > RECORD_DATA", ""),
    (SEAL, "the outer version", "header[1] != 3 || header[2] != 3 ||", "header[1] == 99 ||"),
    (SEAL, "too short for a tag looks like a wrong one", "TAG_BYTES)\n\t\treturn -EBADMSG;", "TAG_BYTES)\n\t\treturn -EPROTO;"),
    (SEAL, "numbers end, opening", "\tif (is_spent(state))\n\t\treturn -EKEYEXPIRED;\n\ttext_len", "\ttext_len"),
    (SEAL, "numbers end, sealing", "\tif (is_spent(state))\n\t\treturn -EKEYEXPIRED;\n\tput_header", "\tput_header"),
    (SEAL, "a number is used once, sealing", "\tstate->seq++;\n\treturn (int)", "\treturn (int)"),
    (SEAL, "a number is used once, opening", "\tstate->seq++;\n\treturn 0;", "\treturn 0;"),
    (SEAL, "the nonce, TLS 1.3", "^= number[i]", "|= number[i]"),
    (SEAL, "the nonce, TLS 1.2 with GCM", "\t\tmemcpy(ret + SALT_BYTES, number, NUMBER_BYTES);", "\t\t(void)number;"),
    (SEAL, "the number is authenticated, TLS 1.2", "memcpy(ret_aad, number, NUMBER_BYTES);",
     "memset(ret_aad, 0, NUMBER_BYTES);"),
    (SEAL, "padding is taken off", "\twhile (len && !text[len - 1])\n\t\tlen--;\n", ""),
    ("record/record.h", "our KeyUpdate in time", "((UINT64_C(1) << 23) - 512)", "((UINT64_C(1) << 23) + 512)"),
    ("record/record.h", "TLS 1.2 ends in time", "((UINT64_C(1) << 24) - 65536)", "((UINT64_C(1) << 25))"),
    # what a peer says beside data
    (POST, "nothing within a message", "return peer->ticket_rest || peer->begun_len;", "return !peer;"),
    (POST, "nothing within a ticket", "return peer->ticket_rest || peer->begun_len;", "return peer->begun_len;"),
    (POST, "nothing within a header", "return peer->ticket_rest || peer->begun_len;", "return peer->ticket_rest;"),
    (POST, "records without data are counted", "\telse if (count_quiet(peer) < 0)\n\t\treturn -EPROTO;\n", ""),
    (POST, "one record less", "++peer->quiet > RECORD_QUIET_MAX", "++peer->quiet >= RECORD_QUIET_MAX"),
    (POST, "messages without data are counted", "(messages++ && count_quiet(peer) < 0) || ", "messages++ < 0 || "),
    (POST, "changes of keys that are paid for", "\t\tpeer->paid--;\n\telse if", "\t\t;\n\telse if"),
    (POST, "nothing else is paid for", "(r == RECORD_KEY_UPDATE || r == RECORD_KEY_UPDATE_REQUESTED) && peer->paid", "peer->paid"),
    ("record/post.h", "the most that are paid for", "if (peer->paid < RECORD_PAID_MAX)", "if (1)"),
    (SPEECH, "data pays for changes of keys", "\t\trecord_peer_pay(&connection->peer);\n", ""),
    (POST, "data resets the count", "\tpeer->quiet = 0;\n", ""),
    (POST, "the length of a KeyUpdate", "return size == 1 ? 0 : -EPROTO;", "return 0;"),
    (POST, "a KeyUpdate ends its record", "if (at + 1 < len || ", "if ("),
    (POST, "the value of a KeyUpdate", " || data[at] > 1)", ")"),
    (POST, "clients send no tickets", " || peer->is_client)", ")"),
    (POST, "other messages", "begun[0] != MESSAGE_TICKET || ", ""),
    (POST, "an empty handshake record", "\tif (!len)\n\t\treturn -EPROTO;\n\twhile", "\twhile"),
    (POST, "the length of an alert", "\tif (len != 2)\n\t\treturn -EPROTO;\n", "\t(void)len;\n"),
    (POST, "close_notify ends", "\t\treturn RECORD_END;", "\t\treturn RECORD_GO_ON;"),
    (POST, "user_canceled does not", "\tcase RECORD_USER_CANCELED:\n\t\treturn RECORD_GO_ON;",
     "\tcase RECORD_USER_CANCELED:\n\t\treturn RECORD_END;"),
    (POST, "other alerts do", "\t\treturn -ECONNRESET;", "\t\treturn RECORD_GO_ON;"),
    (POST, "other types", "\tif (type != RECORD_HANDSHAKE)\n\t\treturn -EPROTO;\n", ""),
    (POST, "renegotiation is refused once", "\tif (peer->told_no)\n\t\treturn -EPROTO;\n", ""),
    # keys
    (KEYS, "a new key counts from 0", "\t\tstate->seq = 0;\n", ""),
    (KEYS, "the old key goes out of its context", "\t\trecord_context_forget(state);\n\t\tmemcpy(secret", "\t\tmemcpy(secret"),
    (KEYS, "the next secret follows from the last", "\t\tmemcpy(secret, next, secret_len);\n\t\tmemcpy(state->key",
     "\t\tmemcpy(state->key"),
    (KEYS, "a wiped key goes out of its context", "\trecord_context_forget(state);\n\tsecret_wipe(state",
     "\tsecret_wipe(state"),
    (KEYS, "a state is wiped", "\tsecret_wipe(state, sizeof(*state));\n}", "}"),
    (CONTEXTS, "a context is its owner's", "state->keyed && slot->keyed == state->keyed", "state->keyed"),
    (CONTEXTS, "a context is nobody's behind that",
     "if (record_aead_set_key(&slot->aead, nobody.key) < 0 ||\n"
     "\t\trecord_aead_begin(&slot->aead, nobody.iv, NULL) < 0)", "if (nobody.seq)"),
    ("record/connection.c", "a connection is wiped",
     "\t\trecord_state_wipe(&connection->states[d]);\n\tsecret_wipe(connection, sizeof(*connection));",
     "\t\trecord_state_wipe(&connection->states[d]);"),
    ("record/connection.h", "only TLS 1.2 wears", "return connection->peer.version == RECORD_TLS_1_2 &&", "return"),
    # the stream
    (STREAM, "what was opened before a bad record is delivered", "\t\tif (given)\n\t\t\treturn (ssize_t)given;",
     "\t\tif (given && connection->in == RECORD_IN_OPEN)\n\t\t\treturn (ssize_t)given;"),
    (STREAM, "nothing is read behind it", "while (records->connection.in == RECORD_IN_OPEN && !records_rest",
     "while (!records_rest"),
    (STREAM, "the reader hears of it", "records->connection.untold ||", "0 ||"),
    (STREAM, "the peer hears of it", "if (untold && record_alert_for(error) >= 0)", "if (untold && error > 0)"),
    (STREAM, "nothing is sent behind the alert",
     "\t\trecords_send_alert(stream, records, 2, record_alert_for(error));\n\t\tconnection->out = RECORD_OUT_SHUT;",
     "\t\trecords_send_alert(stream, records, 2, record_alert_for(error));"),
    (STREAM, "text that is refused goes nowhere", "\t\tsecret_wipe(to, text.len);\n", ""),
    (STREAM, "the peer's next key", "\t\tr = record_state_update(\n"
     "\t\t\t&connection->states[RECORD_READ], connection->secret[RECORD_READ]);\n", "\t\tr = 0;\n"),
    (STREAM, "the answer to a request", "\t\tif (connection->answer_owed)\n", "\t\tif (connection->answer_owed && used > SIZE_MAX / 2)\n"),
    (SPEECH, "the answer behind what waits", " || flush_unsent(stream, records) < 0)\n\t\treturn;\n\tn = seal_update",
     ")\n\t\treturn;\n\tn = seal_update"),
    (SPEECH, "the answer takes tickets along", " || flush_unsent(stream, records) < 0)\n\t\treturn;\n\tn = seal_update",
     " || records_rest(records)->unsent.len)\n\t\treturn;\n\tn = seal_update"),
    (SPEECH, "one answer", "\tconnection->answer_owed = false;\n", ""),
    (SPEECH, "the answer that waits", "if (connection->answer_owed ||\n", "if (\n"),
    (SPEECH, "our own KeyUpdate", "(state->version == RECORD_TLS_1_3 && record_state_is_worn(state))", "0"),
    (SPEECH, "our next key", "\tint r = n < 0 ? n\n", "\tint r = n < 0 || !connection->in ? MIN(n, 0)\n"),
    (STREAM, "a change of keys counts", "stream_add_work(stream, UPDATE_COST);", "stream_add_work(stream, 0);"),
    (STREAM, "renegotiation is answered", "\t\trecords_send_alert(stream, records, 1, RECORD_NO_RENEGOTIATION);\n", ""),
    (STREAM, "an end without close_notify", "\t\t\treturn -ECONNABORTED;", "\t\t\treturn STREAM_EOF;"),
    (SPEECH, "nothing is written behind the end", "\tif (records->connection.out != RECORD_OUT_OPEN)\n\t\treturn -EPIPE;\n", ""),
    (SPEECH, "close_notify behind what waits", "\tif (records->connection.out == RECORD_OUT_OPEN) {\n"
     "\t\tr = flush_unsent(stream, records);", "\tif (records->connection.out == RECORD_OUT_OPEN) {\n\t\tr = 0;"),
    (SPEECH, "FIN behind close_notify", "\tif (records->connection.out == RECORD_OUT_CLOSED) {\n"
     "\t\tr = flush_unsent(stream, records);", "\tif (records->connection.out == RECORD_OUT_CLOSED) {\n\t\tr = 0;"),
    (SPEECH, "what a write has sent: its last record", "\tif (left <= last + overhead)\n\t\treturn (uint32_t)last;\n",
     "\tif (left <= last + overhead)\n\t\treturn 0;\n"),
    (SPEECH, "what a write has sent: a record in part", "- overhead + full + overhead - 1)", "- overhead)"),
    (SPEECH, "the peer's limit", "MIN(len - taken, full)", "MIN(len - taken, (size_t)RECORD_MAX)"),
    (STREAM, "what OpenSSL had read", " ||\n\t\tbuf_append_view(&rest->part, buf_view(&layer->raw)) < 0)", ")"),
    (STREAM, "what OpenSSL had not sent", "\trest->unsent = layer->held;\n", "\tbuf_fini(&layer->held);\n"),
    (STREAM, "what OpenSSL had opened", "size_t opened = (size_t)SSL_pending(layer->ssl), n;", "size_t opened = 0, n;"),
    # a connection as bytes
    (CONNECTION, "a key's number is this process's own", "ret_connection->states[d].keyed = 0;", "continue;"),
    (CONNECTION, "resumed: the direction", "state->direction != d || ", ""),
    (CONNECTION, "resumed: the version", "state->version != peer->version ||", "0 ||"),
    (CONNECTION, "resumed: the cipher", "state->cipher >= RECORD_CIPHERS ||", "0 ||"),
    (CONNECTION, "resumed: one cipher", "state->cipher != connection->states[RECORD_READ].cipher", "0"),
    (CONNECTION, "resumed: a payload", "return peer->payload_max && peer", "return peer"),
    (CONNECTION, "resumed: the most payload", "peer->payload_max <= RECORD_MAX &&", "1 &&"),
    (CONNECTION, "resumed: a header in part", "peer->begun_len <= sizeof(peer->begun) && ", ""),
    (CONNECTION, "resumed: how it is read", "connection->in <= RECORD_IN_FAILED &&", "1 &&"),
    (CONNECTION, "resumed: how it is written", "connection->out <= RECORD_OUT_SHUT;", "1;"),
    (STREAM, "given: a record in part", "buf_append_view(to, buf_view(&rest->part))", "0"),
    (STREAM, "given: what is not sent", "buf_append_view(to, buf_view(&rest->unsent))", "0"),
    (STREAM, "given: what is not read", "buf_append_view(to, buf_view(&rest->opened))", "0"),
    (STREAM, "given: a write to be repeated", "rest->opened.len, rest->owed };", "rest->opened.len, 0 };"),
    (STREAM, "resumed: a write to be repeated", "\trest->owed = state->owed;\n", ""),
    (STREAM, "resumed: a write of another length", "ret_state->owed <= RECORDS_WRITE_BYTES", "1"),
    (STREAM, "resumed: all of it, and no more", "ret_state->opened ==", "ret_state->opened <="),
    (STREAM, "resumed: a plain stream", "if (stream_is_tls(stream))\n\t\treturn -ENOTSUP;\n\tr = read_state", "r = read_state"),
    # the switch
    ("tls/keys.c", "no switch within a record of ours", "layer->out == TLS_OUT_OPEN && ", ""),
    ("tls/keys.c", "no switch within a message", "!layer->unheard && ", ""),
    ("tls/follow.c", "a message is heard", "MIN(layer->unheard, (uint32_t)len);", "len > UINT32_MAX;"),
    ("tls/follow.c", "a message is whole before data", "layer->unheard + layer->record_bytes : 0;",
     "layer->unheard + layer->record_bytes : layer->unheard;"),
    ("tls/follow.c", "what a record holds", "(uint16_t)(body - MIN(body, (size_t)INNER_OVERHEAD))", "(uint16_t)body"),
    ("tls/keys.c", "the limit is known", "? (uint16_t)(256u << code)", "? 0"),
]


def build(tree):
    return subprocess.run(["make", "-s", "-j%d" % (os.cpu_count() or 1)] + ["build/tests/unit/" + t for t in TESTS],
                          cwd=tree, capture_output=True, text=True)


def first_failure(tree):
    """"PROGRAM: test", or None."""
    for name in TESTS:
        try:
            done = subprocess.run([os.path.join(tree, "build/tests/unit", name)], cwd=tree, capture_output=True,
                                  text=True, errors="replace", timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return name + ": does not end"
        if done.returncode:
            test = re.search(r"\[  FAILED  \] (test_\w+)", done.stdout + done.stderr)
            return "%s: %s" % (name, test.group(1) if test else "ends with %d" % done.returncode)
    return None


def judge(tree, row):
    """What catches it, or None and why not."""
    path, _, text, other = row
    path = os.path.join(tree, "userspace", path)
    with open(path) as f:
        source = f.read()
    if source.count(text) != 1:
        return None, "is stale: its text stands there %d times" % source.count(text)
    try:
        with open(path, "w") as f:
            f.write(source.replace(text, other))
        built = build(tree)
        if built.returncode:
            return None, "does not compile:\n" + built.stderr[:600]
        caught = first_failure(tree)
        return caught, "" if caught else "is not caught"
    finally:
        with open(path, "w") as f:
            f.write(source)


def main():
    wanted = [row for row in MUTANTS if len(sys.argv) < 2 or sys.argv[1] in row[0] + row[1]]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="homing-mutants-") as tree:
        checkout.copy(checkout.files(), tree)
        built = build(tree)
        failure = built.stderr[:2000] if built.returncode else first_failure(tree)
        if failure:
            sys.exit("as it is: " + failure)
        for row in wanted:
            caught, why = judge(tree, row)
            missed += not caught
            print("%-20s %-50s %s" % (row[0], row[1], caught or "MISSED: " + why), flush=True)
    print("%d passed, %d failed, 0 skipped" % (len(wanted) - missed, missed))
    return 1 if missed or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
