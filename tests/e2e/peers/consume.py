#!/usr/bin/python3
"""Binds a queue of its own to an exchange and prints what comes, a JSON line a message: its routing key and its body.

Prints `listening` once the queue is bound; runs until it is ended.
"""

import argparse
import json

import pika

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--url", required=True, help="amqp://user:password@host:port/vhost")
arguments.add_argument("--exchange", required=True)
arguments.add_argument("--routing-key", default="#", help="a pattern of a topic exchange")
options = arguments.parse_args()

connection = pika.BlockingConnection(pika.URLParameters(options.url))
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, options.exchange, options.routing_key)
print("listening", flush=True)
for method, _, body in channel.consume(queue, auto_ack=True):
    print(json.dumps({"routing_key": method.routing_key, "body": json.loads(body)}), flush=True)
