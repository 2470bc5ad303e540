"""Recomputes the signature of a request to Tencent Cloud (TC3-HMAC-SHA256) from what came over the wire.

Reads {"method", "target", "headers", "body" (hex), "secret"} from standard input; prints the header that must stand in
`Authorization`. Written from the vendor's page, not from our code.
"""

import datetime
import hashlib
import hmac
import json
import sys

request = json.load(sys.stdin)
body = bytes.fromhex(request["body"])
headers = request["headers"]
timestamp = int(headers["x-tc-timestamp"])


def keyed(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


canonical = "\n".join([
    request["method"], request["target"], "",
    f"content-type:{headers['content-type'].lower()}", f"host:{headers['host'].lower()}", "",
    "content-type;host", hashlib.sha256(body).hexdigest(),
])
date = datetime.datetime.fromtimestamp(timestamp, datetime.timezone.utc).strftime("%Y-%m-%d")
scope = f"{date}/sms/tc3_request"
text = "\n".join(["TC3-HMAC-SHA256", str(timestamp), scope, hashlib.sha256(canonical.encode()).hexdigest()])
key = ("TC3" + request["secret"]).encode()
for part in (date, "sms", "tc3_request"):
    key = keyed(key, part).digest()
signature = keyed(key, text).hexdigest()
print(f"TC3-HMAC-SHA256 Credential=the-id/{scope}, SignedHeaders=content-type;host, Signature={signature}")
