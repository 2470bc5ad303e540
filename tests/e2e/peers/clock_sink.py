#!/usr/bin/python3
"""A mail server that knows when each mail came: the kernel's own time of its envelope's bytes, not when we got to read
them.

Prints `listening HOST:PORT` once it takes connections, then a line a mail: nanoseconds, and whom it is for. A second
argument makes each answer to a mail come that many milliseconds late, as a busy server's.
"""

import asyncio
import contextlib
import socket
import struct
import sys

SO_TIMESTAMPNS = 35
GREETING = b"220 clock.test\r\n"
EHLO = b"250-clock.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.buffer, self.recipient, self.in_data = b"", None, False

    def receive(self):
        """Blocks; the answers and the time of what came."""
        data, ancillary, _, _ = self.connection.recvmsg(1 << 16, 256)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                self.at = seconds * 1_000_000_000 + nanoseconds
        self.buffer += data
        return bool(data)

    def take(self):
        """The next command or content in the buffer, answered; None where more is needed."""
        end = b"\r\n.\r\n" if self.in_data else b"\r\n"
        line, found, rest = self.buffer.partition(end)
        if not found:
            return None
        self.buffer = rest
        if self.in_data:
            self.in_data = False
            print(self.began, self.recipient, flush=True)
            return b"250 2.0.0 taken\r\n"
        verb = line[:4].upper()
        if verb == b"EHLO":
            return EHLO
        if verb == b"MAIL":
            self.began = self.at
        if verb == b"RCPT":
            self.recipient = line.split(b"<")[1].split(b">")[0].decode()
        if verb == b"DATA":
            self.in_data = True
            return b"354 go on\r\n"
        return b"250 2.0.0 fine\r\n"


async def serve(connection, delay):
    loop = asyncio.get_running_loop()
    connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    session = Session(connection)
    with connection, contextlib.suppress(ConnectionError):
        await loop.sock_sendall(connection, GREETING)
        while await readable(loop, session):
            answers = b""
            while (answer := session.take()) is not None:
                if answer.endswith(b"taken\r\n") and delay:
                    await asyncio.sleep(delay)
                answers += answer
            await loop.sock_sendall(connection, answers)


async def readable(loop, session):
    while True:
        try:
            return session.receive()
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(session.connection, lambda: ready.done() or ready.set_result(None))
            await ready
            loop.remove_reader(session.connection)


async def main():
    delay = float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    host, port = listener.getsockname()
    print(f"listening {host}:{port}", flush=True)
    sessions = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        task = asyncio.create_task(serve(connection, delay))
        sessions.add(task)
        task.add_done_callback(sessions.discard)


if __name__ == "__main__":
    asyncio.run(main())
