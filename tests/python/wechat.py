#!/usr/bin/python3
"""Makes calls as WeChat makes them: `wechat.py < calls.json`, with the standard library alone.

Reads a list of {token, timestamp, nonce, xml} and, for safe mode, {key, app_id, random} beside them; `random` is 16
characters. Writes a list of {query, body}. AES is written here from FIPS 197, on purpose: nothing of it comes from the
library that reads the calls.
"""

import base64
import hashlib
import json
import sys
from urllib.parse import urlencode


def times(a, b):
    """The product in GF(2^8), FIPS 197 section 4.2."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def substitution():
    """The S-box, FIPS 197 section 5.1.1: the inverse, then an affine map."""
    box = []
    for value in range(256):
        inverse = next((other for other in range(256) if times(value, other) == 1), 0)
        turned = [((inverse << n) | (inverse >> (8 - n))) & 0xFF for n in range(5)]
        box.append(turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4] ^ 0x63)
    return box


SBOX = substitution()


def expanded(key):
    """The 15 round keys of a key of 32 bytes, FIPS 197 section 5.2."""
    words = [list(key[n:n + 4]) for n in range(0, 32, 4)]
    constant = 1
    for n in range(8, 60):
        word = list(words[n - 1])
        if n % 8 == 0:
            word = [SBOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = times(constant, 2)
        elif n % 8 == 4:
            word = [SBOX[byte] for byte in word]
        words.append([a ^ b for a, b in zip(words[n - 8], word)])
    return [sum(words[n:n + 4], []) for n in range(0, 60, 4)]


def block(plain, keys):
    """One block encrypted, FIPS 197 section 5.1."""
    state = [a ^ b for a, b in zip(plain, keys[0])]
    for turn in range(1, 15):
        state = [SBOX[state[(n + 4 * (n % 4)) % 16]] for n in range(16)]
        if turn < 14:
            mixed = []
            for n in range(0, 16, 4):
                column = state[n:n + 4]
                for row in range(4):
                    a, b, c, d = column[row:] + column[:row]
                    mixed.append(times(a, 2) ^ times(b, 3) ^ c ^ d)
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[turn])]
    return bytes(state)


def encrypted(call):
    key = base64.b64decode(call["key"] + "=")
    xml = call["xml"].encode()
    plain = call["random"].encode() + len(xml).to_bytes(4, "big") + xml + call["app_id"].encode()
    padding = 32 - len(plain) % 32
    plain += bytes([padding]) * padding
    keys, last, out = expanded(key), key[:16], b""
    for n in range(0, len(plain), 16):
        last = block(bytes(a ^ b for a, b in zip(plain[n:n + 16], last)), keys)
        out += last
    return base64.b64encode(out).decode()


def signature(*parts):
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def made(call):
    token, timestamp, nonce = call["token"], call["timestamp"], call["nonce"]
    query = {"signature": signature(token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}
    if "key" not in call:
        return {"query": urlencode(query), "body": call["xml"]}
    secret = encrypted(call)
    query |= {"encrypt_type": "aes", "msg_signature": signature(token, timestamp, nonce, secret)}
    body = f"<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[{secret}]]></Encrypt></xml>"
    return {"query": urlencode(query), "body": body}


# FIPS 197, appendix C.3.
vector = block(bytes.fromhex("00112233445566778899aabbccddeeff"), expanded(bytes(range(32))))
assert vector.hex() == "8ea2b7ca516745bfeafc49904b496089"

json.dump([made(call) for call in json.load(sys.stdin)], sys.stdout)
