#!/usr/bin/python3
"""Publishes what comes on stdin to RabbitMQ and waits for each confirm; prints how many were confirmed.

A message that no queue takes, or that the broker refuses, ends it with exit code 1.
"""

import argparse
import sys

import pika
import pika.exceptions

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--url", required=True, help="amqp://user:password@host:port/vhost")
arguments.add_argument("--exchange", default="", help="the default exchange where absent")
arguments.add_argument("--routing-key", required=True, help="a queue's name with the default exchange")
arguments.add_argument("--lines", action="store_true", help="each line is a message of its own (NDJSON)")
arguments.add_argument("--content-type", default="application/json")
arguments.add_argument("--message-id")
arguments.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
options = arguments.parse_args()

body = sys.stdin.buffer.read()
bodies = [line for line in body.split(b"\n") if line.strip()] if options.lines else [body]
properties = pika.BasicProperties(
    content_type=options.content_type,
    delivery_mode=2,
    message_id=options.message_id,
    headers=dict(header.split("=", 1) for header in options.header),
)

connection = pika.BlockingConnection(pika.URLParameters(options.url))
channel = connection.channel()
channel.confirm_delivery()
try:
    for body in bodies:
        channel.basic_publish(options.exchange, options.routing_key, body, properties, mandatory=True)
except (pika.exceptions.UnroutableError, pika.exceptions.NackError, pika.exceptions.ChannelClosed) as error:
    sys.exit(f"not taken: {type(error).__name__}: {error}")
connection.close()
print(len(bodies))
