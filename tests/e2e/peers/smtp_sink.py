#!/usr/bin/python3
"""A mail server that takes everything and remembers it: one JSON line a mail in the file named.

Prints `listening HOST:PORT` once it takes connections. A mail is in the file before it is answered with 250.
Recipients decide their own fate by the beginning of their address: `reject` is refused for good (550), `defer` is
put off once (451) and then taken.
"""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP


class Recorder:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")
        self.deferred = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("reject"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("defer") and address not in self.deferred:
            self.deferred.add(address)
            return "451 4.7.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        record = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in message.items()],
            "parts": [
                {"type": part.get_content_type(), "text": part.get_content()}
                for part in message.walk()
                if part.get_content_maintype() == "text"
            ],
            "defects": [repr(defect) for part in message.walk() for defect in part.defects],
            "size": len(envelope.content),
        }
        print(json.dumps(record, ensure_ascii=False), file=self.file, flush=True)
        return "250 2.0.0 taken"


async def main(path):
    recorder = Recorder(path)
    session = lambda: SMTP(recorder, hostname="sink.test", enable_SMTPUTF8=True)
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"listening {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
