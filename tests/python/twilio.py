"""Recomputes the login and the form of a request to Twilio from what came over the wire.

Reads {"method", "target", "headers", "body" (hex), "secret"} from standard input; prints the header that must stand in
`Authorization`. Written from the vendor's page, not from our code.
"""

import base64
import json
import sys
from urllib.parse import parse_qs

request = json.load(sys.stdin)
account = request["target"].split("/")[3]
assert request["target"] == f"/2010-04-01/Accounts/{account}/Messages.json", request["target"]
assert request["headers"]["content-type"] == "application/x-www-form-urlencoded"
form = parse_qs(bytes.fromhex(request["body"]).decode(), strict_parsing=True)
assert form == {
    "To": ["+8613800000001"], "From": ["+15557122661"], "Body": ["Hello & bye +1 你好 *~"],
    "StatusCallback": ["https://mail.example.com/hooks/tw?mid=12-1-0"],
}, form
print("Basic " + base64.b64encode(f"{account}:{request['secret']}".encode()).decode())
