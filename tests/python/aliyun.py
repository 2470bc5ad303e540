"""Recomputes the signature of a request to Aliyun (ACS3-HMAC-SHA256) from what came over the wire.

Reads {"method", "target", "headers", "body" (hex), "secret"} from standard input; prints the header that must stand in
`Authorization`. Written from the vendor's page, not from our code.
"""

import hashlib
import hmac
import json
import sys
from urllib.parse import parse_qsl, quote, urlsplit

request = json.load(sys.stdin)
body = bytes.fromhex(request["body"])
headers = request["headers"]
url = urlsplit(request["target"])

assert headers["x-acs-content-sha256"] == hashlib.sha256(body).hexdigest(), "x-acs-content-sha256 is not of the body"
pairs = sorted(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True))
query = "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in pairs)
signed = sorted(name for name in headers if name in ("host", "content-type") or name.startswith("x-acs-"))
lines = [request["method"], url.path, query]
lines += [f"{name}:{headers[name].strip()}" for name in signed]
lines += ["", ";".join(signed), hashlib.sha256(body).hexdigest()]
digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
text = f"ACS3-HMAC-SHA256\n{digest}"
signature = hmac.new(request["secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
print(f"ACS3-HMAC-SHA256 Credential=the-id,SignedHeaders={';'.join(signed)},Signature={signature}")
