"""Reads the body of a request for a token on standard input and says whether it is signed with argv[1]."""
import hashlib
import json
import sys

login = json.load(sys.stdin)
text = login["appkey"] + login["timestamp"] + sys.argv[1]
signed = hashlib.sha256(text.encode()).hexdigest() == login["sign"]
print("signed" if signed and len(login["timestamp"]) == 13 else "forged")
