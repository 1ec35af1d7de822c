# SPDX-License-Identifier: Apache-2.0
"""What a wire and a client's key log (keylog_filename) say together: the secrets of its session, the keys made
of them (RFC 8446 section 7, RFC 5246 section 6.3), and every record opened with the number that it must have."""

import ctypes
import hmac
import struct

CRYPTO = ctypes.CDLL("libcrypto.so.3")
for _name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm", "EVP_aes_256_gcm", "EVP_chacha20_poly1305"):
    getattr(CRYPTO, _name).restype = ctypes.c_void_p
SET_IV_LEN, SET_TAG, TAG_BYTES = 9, 17, 16
APPLICATION, HANDSHAKE, CHANGE_CIPHER = 23, 22, 20

# By the standard's number: cipher, bytes of its key, hash
SUITES = {0x1301: ("EVP_aes_128_gcm", 16, "sha256"), 0x1302: ("EVP_aes_256_gcm", 32, "sha384"),
          0x1303: ("EVP_chacha20_poly1305", 32, "sha256"), 0xC02B: ("EVP_aes_128_gcm", 16, "sha256"),
          0xC02C: ("EVP_aes_256_gcm", 32, "sha384"), 0xCCA9: ("EVP_chacha20_poly1305", 32, "sha256")}


def expand_label(digest, secret, label, size):
    label = b"tls13 " + label
    info = struct.pack(">HB", size, len(label)) + label + b"\0\1"
    return hmac.new(secret, info, digest).digest()[:size]


def expand(digest, secret, seed, size):
    """P_hash of RFC 5246 section 5."""
    out, a = b"", seed
    while len(out) < size:
        a = hmac.new(secret, a, digest).digest()
        out += hmac.new(secret, a + seed, digest).digest()
    return out[:size]


def open_record(cipher, key, nonce, head, sealed):
    """The text, or None: these are not its key, number and head."""
    context = ctypes.c_void_p(CRYPTO.EVP_CIPHER_CTX_new())
    size, into = ctypes.c_int(), ctypes.create_string_buffer(len(sealed))
    text, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    kind = ctypes.c_void_p(getattr(CRYPTO, cipher)())
    assert CRYPTO.EVP_DecryptInit_ex(context, kind, None, None, None) == 1
    assert CRYPTO.EVP_CIPHER_CTX_ctrl(context, SET_IV_LEN, len(nonce), None) == 1
    assert CRYPTO.EVP_DecryptInit_ex(context, None, None, key, nonce) == 1
    assert CRYPTO.EVP_DecryptUpdate(context, None, ctypes.byref(size), head, len(head)) == 1
    assert CRYPTO.EVP_DecryptUpdate(context, into, ctypes.byref(size), text, len(text)) == 1
    assert CRYPTO.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG_BYTES, tag) == 1
    good = CRYPTO.EVP_DecryptFinal_ex(context, None, ctypes.byref(size))
    CRYPTO.EVP_CIPHER_CTX_free(context)
    return into.raw[:len(text)] if good == 1 else None


def records(data):
    """(type, head, sealed) of whole ones."""
    while len(data) >= 5:
        size = 5 + int.from_bytes(data[3:5], "big")
        if len(data) < size:
            return
        yield data[0], bytes(data[:5]), bytes(data[5:size])
        data = data[size:]


def key_log(path):
    """{client's random: {label: secret}}"""
    found = {}
    with open(path, encoding="ascii") as f:
        for line in f:
            if not line.startswith("#"):
                label, random, secret = line.split()
                found.setdefault(bytes.fromhex(random), {})[label] = bytes.fromhex(secret)
    return found


class Session:
    """Of a client, from what it said and was told on the wire, and its key log."""

    def __init__(self, up, down, log):
        hello = next(records(down))[2]
        client = next(records(up))[2]
        self.randoms = client[6:38], hello[6:38]
        after = 39 + hello[38]
        self.cipher, self.key_bytes, self.digest = SUITES[int.from_bytes(hello[after:after + 2], "big")]
        self.secrets, self.is_13 = log[self.randoms[0]], hello[after + 1] in (1, 2, 3) and hello[after] == 0x13

    def keys(self, is_server):
        """(secret, key, IV) that application data begins with; of TLS 1.2 the secret is the master's, and the IV
        is what is not on the wire."""
        if self.is_13:
            secret = self.secrets["%s_TRAFFIC_SECRET_0" % ("SERVER" if is_server else "CLIENT")]
            return secret, *self.of_secret(secret)
        iv_bytes = 12 if "chacha" in self.cipher else 4
        master, size = self.secrets["CLIENT_RANDOM"], 2 * (self.key_bytes + iv_bytes)
        block = expand(self.digest, master, b"key expansion" + self.randoms[1] + self.randoms[0], size)
        ivs = 2 * self.key_bytes
        return (master, block[is_server * self.key_bytes:][:self.key_bytes],
                block[ivs + is_server * iv_bytes:][:iv_bytes])

    def of_secret(self, secret):
        return (expand_label(self.digest, secret, b"key", self.key_bytes),
                expand_label(self.digest, secret, b"iv", 12))

    def texts(self, data, is_server):
        """The application data of one way, (type, text) a record: each has the next number."""
        return list(self.texts_13(data, is_server) if self.is_13 else self.texts_12(data, is_server))

    def texts_13(self, data, is_server):
        name = "SERVER" if is_server else "CLIENT"
        later = self.secrets[name + "_TRAFFIC_SECRET_0"]
        key, iv = self.of_secret(self.secrets[name + "_HANDSHAKE_TRAFFIC_SECRET"])
        number = 0
        for kind, head, sealed in records(data):
            if kind != APPLICATION:
                continue
            text = open_record(self.cipher, key, self.nonce(iv, number), head, sealed)
            if text is None and later: # behind Finished
                (key, iv), later, number = self.of_secret(later), None, 0
                text = open_record(self.cipher, key, self.nonce(iv, number), head, sealed)
            assert text is not None, "record %d has another number, or is of nobody" % number
            number += 1
            text = text.rstrip(b"\0")
            if not later:
                yield text[-1], text[:-1]

    @staticmethod
    def nonce(iv, number):
        return (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")

    def texts_12(self, data, is_server):
        _, key, iv = self.keys(is_server)
        number, sealed_ones, seen = 0, False, set()
        for kind, head, sealed in records(data):
            if not sealed_ones:
                sealed_ones = kind == CHANGE_CIPHER
                continue
            explicit = b"" if len(iv) == 12 else sealed[:8]
            nonce = iv + explicit if explicit else self.nonce(iv, number)
            assert nonce not in seen, "a nonce for the second time"
            seen.add(nonce)
            sealed = sealed[len(explicit):]
            around = struct.pack(">QB2sH", number, head[0], head[1:3], len(sealed) - TAG_BYTES)
            text = open_record(self.cipher, key, nonce, around, sealed)
            assert text is not None, "record %d has another number, or is of nobody" % number
            number += 1
            if kind == APPLICATION:
                yield kind, text
