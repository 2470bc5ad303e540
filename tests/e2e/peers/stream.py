#!/usr/bin/python3
"""A marketing system that keeps publishing, whatever becomes of RabbitMQ: job after job, each until it is confirmed.

A job whose confirm did not come is published again, unchanged. Prints the number of each job once it is confirmed;
`@N@` in the body stands for the number. Ends after the confirm under way when it is asked to (SIGTERM).
"""

import argparse
import itertools
import signal
import time

import pika
import pika.exceptions

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--url", required=True, help="amqp://user:password@host:port/vhost")
arguments.add_argument("--exchange", default="", help="the default exchange where absent")
arguments.add_argument("--routing-key", required=True, help="a queue's name with the default exchange")
arguments.add_argument("--body", required=True)
arguments.add_argument("--every", type=float, required=True, help="seconds between two jobs")
options = arguments.parse_args()

parameters = pika.URLParameters(options.url)
parameters.heartbeat = 4  # a frozen broker is noticed
parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = 5
properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))


def confirmed(channel, body):
    """Whether a queue has the job for certain."""
    try:
        channel.basic_publish(options.exchange, options.routing_key, body, properties, mandatory=True)
        return True
    except (pika.exceptions.UnroutableError, pika.exceptions.NackError):
        return False


def opened():
    channel = pika.BlockingConnection(parameters).channel()
    channel.confirm_delivery()
    return channel


channel = None
for number in itertools.count(1):
    body = options.body.replace("@N@", str(number)).encode()
    done = False
    while not done and not asked:
        try:
            channel = channel or opened()
            done = confirmed(channel, body)
        except Exception:  # pika's ways of saying that RabbitMQ is away have no common ancestor
            channel = None
        time.sleep(options.every if done else 0.2)
    if done:
        print(number, flush=True)
    if asked:
        break
