"""Says whether the Authorization header on standard input is that of the key argv[1] and the secret argv[2]."""
import base64
import sys

scheme, login = sys.stdin.read().split(" ", 1)
known = base64.b64decode(login, validate=True).decode() == f"{sys.argv[1]}:{sys.argv[2]}"
print("signed" if scheme == "Basic" and known else "forged")
