"""kill -9 while confirms are on their way: what was confirmed is there afterwards."""

import threading
import time

import pika
import pytest
from test_amqp_frames import BODY, Raw, consume


def connect(server):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp_port, socket_timeout=10))


@pytest.mark.parametrize("round", range(3))
def test_nothing_confirmed_is_lost(server, round):
    connection = connect(server)
    channel = connection.channel()
    channel.exchange_declare("ex", "topic", durable=True)
    for name in ["all", "some"]:
        channel.queue_declare(name, durable=True)
    channel.queue_bind("all", "ex", "#")
    channel.queue_bind("some", "ex", "*.even")
    connection.close()
    confirmed = []

    def publish():
        """With a window: pika's asynchronous connection, so that many are on their way."""
        tags = {}

        def on_ready(channel):
            def fill():
                for number in range(100_000):
                    if channel.is_open:
                        tags[number + 1] = number
                        kind = "even" if number % 2 == 0 else "odd"
                        channel.basic_publish("ex", f"k.{kind}", str(number).encode(), pika.BasicProperties(delivery_mode=2))
                    if number % 200 == 199:
                        return channel.connection.ioloop.call_later(0.01, lambda: resume(number + 1))

            def resume(start):
                for number in range(start, start + 200):
                    if channel.is_open:
                        kind = "even" if number % 2 == 0 else "odd"
                        channel.basic_publish("ex", f"k.{kind}", str(number).encode(), pika.BasicProperties(delivery_mode=2))
                if channel.is_open:
                    channel.connection.ioloop.call_later(0.005, lambda: resume(start + 200))

            fill()

        last = [0]

        def on_confirm(frame):
            tag = frame.method.delivery_tag
            if frame.method.multiple:
                confirmed.extend(range(last[0], tag))
                last[0] = tag
            else:
                confirmed.append(tag - 1)

        def on_channel(channel):
            channel.confirm_delivery(on_confirm, callback=lambda _: on_ready(channel))

        connection = pika.SelectConnection(
            pika.ConnectionParameters("127.0.0.1", server.amqp_port),
            on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
            on_close_callback=lambda *_: connection.ioloop.stop(),
            on_open_error_callback=lambda *_: connection.ioloop.stop(),
        )
        connection.ioloop.start()

    thread = threading.Thread(target=publish)
    thread.start()
    time.sleep(1 + 0.3 * round)
    server.kill()
    thread.join(timeout=20)
    assert len(confirmed) > 100
    server.start()
    connection = connect(server)
    channel = connection.channel()
    for name, wanted in [("all", set(confirmed)), ("some", {number for number in confirmed if number % 2 == 0})]:
        count = channel.queue_declare(name, passive=True).method.message_count
        # By frames: what counts is what the server sends.
        raw = Raw(server).open().channel()
        # A debug build on a busy machine takes its time.
        raw.socket.settimeout(60)
        raw.send(consume(1, name, "t", bits=2)).expect(60, 21)
        found = []
        while len(found) < count:
            kind, _, payload = raw.read()
            if kind == BODY:
                found.append(int(payload))
        raw.socket.close()
        missing = wanted - set(found)
        assert not missing, f"{len(missing)} of {len(wanted)} are lost from {name}: counted {count}, got {len(found)}"
        assert found == sorted(found), "out of order"
    connection.close()
