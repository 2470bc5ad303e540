"""Verifies a JSON Web Token by arithmetic alone: an independent word on what the daemon signs.

Standard input: {"token": "...", "key": "-----BEGIN PUBLIC KEY-----..."}; ES256 and RS256 (RFC 7518).
Standard output: {"header": ..., "claims": ...}; exit code 1 where the signature is wrong.
"""

import base64
import hashlib
import json
import sys

# P-256 (FIPS 186-4, D.1.2.3)
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
A = P - 3
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
# DigestInfo of SHA-256 (RFC 8017, section 9.2)
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] + A) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(k, point):
    total = None
    while k:
        if k & 1:
            total = add(total, point)
        point, k = add(point, point), k >> 1
    return total


def es256(key, message, signature):
    if len(signature) != 64 or key[0] != 4:
        return False
    point = int.from_bytes(key[1:33], "big"), int.from_bytes(key[33:], "big")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < N and 0 < s < N):
        return False
    digest, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    found = add(times(digest * inverse % N, G), times(r * inverse % N, point))
    return found is not None and found[0] % N == r


def rs256(key, message, signature):
    _, numbers, _ = der(key)
    _, n, rest = der(numbers)
    _, e, _ = der(rest)
    n, e, size = int.from_bytes(n, "big"), int.from_bytes(e, "big"), len(n.lstrip(b"\0"))
    block = pow(int.from_bytes(signature, "big"), e, n).to_bytes(size, "big")
    end = SHA256 + hashlib.sha256(message).digest()
    return len(signature) == size and block == b"\0\1" + b"\xff" * (size - len(end) - 3) + b"\0" + end


def der(data):
    """The first element's tag and content, and what follows it."""
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return data[0], data[start : start + length], data[start + length :]


def public_key(pem):
    """The key inside SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""
    lines = [line for line in pem.splitlines() if not line.startswith("-----")]
    _, info, _ = der(base64.b64decode("".join(lines)))
    _, _, rest = der(info)
    _, bits, _ = der(rest)
    return bits[1:]


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def main():
    given = json.load(sys.stdin)
    header, claims, signature = given["token"].split(".")
    message = f"{header}.{claims}".encode()
    verify = {"ES256": es256, "RS256": rs256}[json.loads(decode(header))["alg"]]
    if not verify(public_key(given["key"]), message, decode(signature)):
        sys.exit(1)
    print(json.dumps({"header": json.loads(decode(header)), "claims": json.loads(decode(claims))}))


main()
