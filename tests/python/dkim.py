#!/usr/bin/python3
"""Verifies DKIM signatures (RFC 6376, RFC 8463) with the standard library alone.

The message comes on standard input. Arguments are NAME=TXT pairs, the records of the name service. Prints
`DOMAIN ALGORITHM HEADERS` for each signature, in their order, and fails at the first that is not good.
"""

import base64
import hashlib
import re
import sys


def relaxed_header(name, value):
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" \t")
    return name.lower().strip() + b":" + value


def relaxed_body(body):
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def fields(header):
    for field in re.split(rb"\r\n(?![ \t])", header):
        name, _, value = field.partition(b":")
        yield name, value


def tags(text):
    pairs = (pair.partition("=") for pair in text.split(";") if pair.strip())
    return {name.strip(): re.sub(r"\s+", "", value) for name, _, value in pairs}


def der(data):
    """The content of the first DER value, and what stands behind it."""
    length, at = data[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
    return data[at : at + length], data[at + length :]


def rsa_verifies(key, signature, data):
    _, bits = der(der(key)[0])
    modulus, rest = der(der(der(bits)[0][1:])[0])
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(der(rest)[0], "big")
    size = (n.bit_length() + 7) // 8
    padded = pow(int.from_bytes(signature, "big"), e, n).to_bytes(size, "big")
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(data).digest()
    return padded == b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info


# Ed25519 as RFC 8032, section 5.1, writes it.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def x_of(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - x2) % P == 0, "not a point"
    return P - x if x & 1 != sign else x


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P
    return x, y


def times(n, point):
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, point)
        point = add(point, point)
        n >>= 1
    return total


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    return x_of(y, sign), y


def ed25519_verifies(key, signature, data):
    base_y = 4 * pow(5, P - 2, P) % P
    base = (x_of(base_y, 0), base_y)
    message = hashlib.sha256(data).digest()
    challenge = hashlib.sha512(signature[:32] + key + message).digest()
    challenge = int.from_bytes(challenge, "little") % Q
    left = times(int.from_bytes(signature[32:], "little"), base)
    return left == add(point_of(signature[:32]), times(challenge, point_of(key)))


def verify(message, records):
    header, _, body = message.partition(b"\r\n\r\n")
    header = list(fields(header))
    for at, (name, value) in enumerate(header):
        if name.lower() != b"dkim-signature":
            continue
        said = tags(value.decode())
        assert said["v"] == "1" and said["c"] == "relaxed/relaxed", said
        body_hash = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()
        assert body_hash == said["bh"], "the body is another"
        # Several fields of one name are taken from the last to the first; a name without a field is nothing.
        left = header[:at] + header[at + 1 :]
        data = b""
        for wanted in said["h"].lower().split(":"):
            found = [i for i, (own, _) in enumerate(left) if own.lower() == wanted.encode()]
            if found:
                data += relaxed_header(*left.pop(found[-1])) + b"\r\n"
        data += relaxed_header(name, re.sub(rb"(\bb=)[^;]*", rb"\1", value))
        record = tags(records[f"{said['s']}._domainkey.{said['d']}"])
        key, signature = base64.b64decode(record["p"]), base64.b64decode(said["b"])
        verifies = {"rsa-sha256": rsa_verifies, "ed25519-sha256": ed25519_verifies}[said["a"]]
        assert verifies(key, signature, data), f"the signature of {said['d']} is not good"
        yield said["d"], said["a"], said["h"]


if __name__ == "__main__":
    records = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for line in verify(sys.stdin.buffer.read(), records):
        print(*line)
