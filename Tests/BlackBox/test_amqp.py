"""AMQP 0-9-1 with pika against a real server."""

import threading
import time

import pika
import pytest
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ProbableAccessDeniedError, UnroutableError


def connect(server, **settings):
    settings.setdefault("blocked_connection_timeout", 20)
    return pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", server.amqp_port, socket_timeout=10, **settings)
    )


@pytest.fixture
def connection(server):
    opened = connect(server)
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection):
    return connection.channel()


def take(channel, queue, count, auto_ack=False, seconds=10):
    """So many messages of a queue, by a consumer that ends then."""
    found = []
    for method, properties, body in channel.consume(queue, auto_ack=auto_ack, inactivity_timeout=seconds):
        assert method is not None, f"only {len(found)} of {count} messages came"
        found.append((method, properties, body))
        if len(found) == count:
            break
    return found


def test_server_properties_are_those_that_clients_look_for(connection):
    properties = connection._impl.server_properties
    assert properties["product"] == "RabbitMQ"
    assert properties["version"].startswith("4.")
    assert len(properties["capabilities"]) == 9


def test_a_confirmed_message_comes_to_a_consumer(channel):
    channel.queue_declare("work", durable=True)
    channel.confirm_delivery()
    properties = pika.BasicProperties(
        content_type="text/plain",
        delivery_mode=2,
        priority=3,
        correlation_id="7",
        message_id="m1",
        timestamp=1_700_000_000,
        type="t",
        app_id="a",
        headers={"text": "x", "number": 5, "deep": {"list": [1, "two", None, True]}},
    )
    channel.basic_publish("", "work", b"hello", properties)
    ((method, found, body),) = take(channel, "work", 1)
    assert body == b"hello"
    assert (method.exchange, method.routing_key, method.redelivered) == ("", "work", False)
    assert found == properties
    channel.basic_ack(method.delivery_tag)


def test_messages_are_in_order_and_acknowledged_once(channel):
    channel.queue_declare("work", durable=True)
    for number in range(500):
        channel.basic_publish("", "work", str(number).encode())
    found = take(channel, "work", 500)
    assert [int(body) for _, _, body in found] == list(range(500))
    channel.basic_ack(found[-1][0].delivery_tag, multiple=True)
    channel.cancel()
    assert channel.queue_declare("work", passive=True).method.message_count == 0


def test_what_a_channel_had_goes_back_in_order_and_is_redelivered(connection):
    first = connection.channel()
    first.queue_declare("work")
    for number in range(10):
        first.basic_publish("", "work", str(number).encode())
    found = take(first, "work", 10)
    first.basic_ack(found[3][0].delivery_tag)
    first.close()
    second = connection.channel()
    again = take(second, "work", 9)
    assert [body for _, _, body in again] == [str(number).encode() for number in range(10) if number != 3]
    assert all(method.redelivered for method, _, _ in again)


def test_nack_with_requeue_puts_a_message_back_in_its_place(channel):
    channel.queue_declare("work")
    for number in range(5):
        channel.basic_publish("", "work", str(number).encode())
    found = take(channel, "work", 5)
    channel.basic_nack(found[4][0].delivery_tag, requeue=True)
    channel.basic_nack(found[1][0].delivery_tag, requeue=True)
    channel.basic_reject(found[2][0].delivery_tag, requeue=False)
    channel.cancel()
    channel.basic_recover(requeue=True)
    again = take(channel, "work", 4)
    assert [body for _, _, body in again] == [b"0", b"1", b"3", b"4"]


def test_prefetch_bounds_what_is_out(connection):
    channel = connection.channel()
    channel.queue_declare("work")
    for number in range(20):
        channel.basic_publish("", "work", str(number).encode())
    channel.basic_qos(prefetch_count=3)
    got = []
    channel.basic_consume("work", lambda _, method, __, body: got.append((method.delivery_tag, body)))
    connection.process_data_events(time_limit=1)
    assert len(got) == 3
    channel.basic_ack(got[0][0])
    connection.process_data_events(time_limit=1)
    assert len(got) == 4
    channel.basic_ack(got[-1][0], multiple=True)
    connection.process_data_events(time_limit=1)
    assert [body for _, body in got] == [str(number).encode() for number in range(7)]


def test_two_consumers_share_a_queue(connection):
    channel = connection.channel()
    channel.queue_declare("work")
    channel.basic_qos(prefetch_count=1)
    seen = {"a": 0, "b": 0}

    def work(name):
        def on_message(channel, method, _, __):
            seen[name] += 1
            channel.basic_ack(method.delivery_tag)

        return on_message

    channel.basic_consume("work", work("a"), consumer_tag="a")
    channel.basic_consume("work", work("b"), consumer_tag="b")
    for number in range(20):
        channel.basic_publish("", "work", b"x")
    deadline = time.monotonic() + 10
    while sum(seen.values()) < 20 and time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.2)
    assert sum(seen.values()) == 20
    assert min(seen.values()) >= 5


@pytest.mark.parametrize(
    "kind, key, arguments, reached, missed",
    [
        ("direct", "a.b", None, "a.b", "a.c"),
        ("topic", "a.*.c", None, "a.b.c", "a.b.b.c"),
        ("topic", "#.c", None, "a.b.c", "a.b"),
        ("fanout", "", None, "whatever", None),
    ],
)
def test_exchanges_route_by_their_type(channel, kind, key, arguments, reached, missed):
    channel.exchange_declare("ex", kind)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "ex", key, arguments)
    if missed:
        channel.basic_publish("ex", missed, b"missed")
    channel.basic_publish("ex", reached, b"reached")
    ((method, _, body),) = take(channel, queue, 1)
    assert body == b"reached"
    assert (method.exchange, method.routing_key) == ("ex", reached)
    channel.cancel()


@pytest.mark.parametrize("match, found", [("all", {b"both"}), ("any", {b"both", b"one"})])
def test_headers_exchanges_look_at_headers(channel, match, found):
    channel.exchange_declare("ex", "headers")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "ex", "", {"x-match": match, "a": 1, "b": "two"})
    for body, headers in [(b"both", {"a": 1, "b": "two"}), (b"one", {"a": 1}), (b"none", {"a": 2})]:
        channel.basic_publish("ex", "", body, pika.BasicProperties(headers=headers))
    channel.basic_publish("ex", "", b"end", pika.BasicProperties(headers={"a": 1, "b": "two"}))
    bodies = set()
    for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=5):
        if body in (b"end", None):
            break
        bodies.add(body)
    assert bodies == found


def test_an_unbound_queue_gets_nothing_more(channel):
    channel.exchange_declare("ex", "direct")
    channel.queue_declare("q")
    channel.queue_bind("q", "ex", "k")
    channel.basic_publish("ex", "k", b"1")
    channel.queue_unbind("q", "ex", "k")
    channel.basic_publish("ex", "k", b"2")
    assert channel.queue_declare("q", passive=True).method.message_count == 1


def test_counts_of_declare_purge_and_delete(channel):
    channel.queue_declare("q", durable=True)
    for _ in range(7):
        channel.basic_publish("", "q", b"x")
    assert channel.queue_declare("q", durable=True).method.message_count == 7
    assert channel.queue_purge("q").method.message_count == 7
    assert channel.queue_declare("q", passive=True).method.message_count == 0
    channel.basic_publish("", "q", b"x")
    assert channel.queue_delete("q").method.message_count == 1
    assert channel.queue_delete("q").method.message_count == 0
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.queue_declare("q", passive=True)
    assert error.value.reply_code == 404
    assert error.value.reply_text == "NOT_FOUND - no queue 'q' in vhost '/'"


def test_an_exclusive_queue_is_its_connections_and_ends_with_it(server, connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    assert queue.startswith("amq.gen-")
    other = connect(server)
    with pytest.raises(ChannelClosedByBroker) as error:
        other.channel().queue_declare(queue, passive=True)
    assert error.value.reply_code == 405
    connection.close()
    with pytest.raises(ChannelClosedByBroker) as error:
        other.channel().queue_declare(queue, passive=True)
    assert error.value.reply_code == 404
    other.close()


def test_an_auto_delete_queue_ends_with_its_last_consumer(connection):
    channel = connection.channel()
    channel.queue_declare("q", auto_delete=True)
    tag = channel.basic_consume("q", lambda *_: None)
    channel.basic_cancel(tag)
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.queue_declare("q", passive=True)
    assert error.value.reply_code == 404


def test_a_transient_queue_outlives_the_connection_that_declared_it(server, connection):
    connection.channel().queue_declare("shared")
    other = connect(server)
    connection.close()
    channel = other.channel()
    channel.basic_publish("", "shared", b"x")
    assert take(channel, "shared", 1)[0][2] == b"x"
    other.close()


def test_consumers_without_acknowledgement_get_everything(channel):
    channel.queue_declare("q")
    for number in range(300):
        channel.basic_publish("", "q", str(number).encode())
    found = take(channel, "q", 300, auto_ack=True)
    assert [int(body) for _, _, body in found] == list(range(300))
    channel.cancel()
    assert channel.queue_declare("q", passive=True).method.message_count == 0


@pytest.mark.parametrize("size", [0, 1, 130_000, 131_064, 131_065, 300_000, 2_000_000])
def test_bodies_of_all_sizes_come_as_they_were(channel, size):
    channel.queue_declare("q")
    channel.confirm_delivery()
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    channel.basic_publish("", "q", body)
    assert take(channel, "q", 1)[0][2] == body


def test_messages_and_queues_are_there_after_a_restart(server):
    connection = connect(server)
    channel = connection.channel()
    channel.exchange_declare("ex", "topic", durable=True)
    channel.queue_declare("kept", durable=True)
    channel.queue_declare("lost", durable=False)
    channel.queue_bind("kept", "ex", "a.#")
    channel.confirm_delivery()
    channel.basic_publish("ex", "a.b", b"before", pika.BasicProperties(delivery_mode=2))
    connection.close()
    server.stop()
    server.start()
    connection = connect(server)
    channel = connection.channel()
    channel.basic_publish("ex", "a.c", b"after")
    assert [body for _, _, body in take(channel, "kept", 2)] == [b"before", b"after"]
    with pytest.raises(ChannelClosedByBroker) as error:
        connection.channel().queue_declare("lost", passive=True)
    assert error.value.reply_code == 404
    connection.close()


def test_a_message_that_reaches_no_queue_is_returned(channel):
    channel.exchange_declare("ex", "direct")
    channel.confirm_delivery()
    channel.basic_publish("ex", "nowhere", b"dropped")
    with pytest.raises(UnroutableError) as error:
        channel.basic_publish("ex", "nowhere", b"returned", pika.BasicProperties(app_id="a"), mandatory=True)
    (returned,) = error.value.messages
    assert returned.body == b"returned"
    assert returned.properties.app_id == "a"
    assert (returned.method.reply_code, returned.method.routing_key) == (312, "nowhere")
    channel.queue_declare("q")
    channel.queue_bind("q", "ex", "somewhere")
    channel.basic_publish("ex", "somewhere", b"taken", mandatory=True)
    assert take(channel, "q", 1)[0][2] == b"taken"


def test_basic_get_takes_one_message_at_a_time(channel):
    channel.queue_declare("q")
    assert channel.basic_get("q") == (None, None, None)
    for number in range(3):
        channel.basic_publish("", "q", str(number).encode())
    method, _, body = channel.basic_get("q")
    assert (body, method.message_count, method.redelivered) == (b"0", 2, False)
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = channel.basic_get("q", auto_ack=True)
    assert (body, method.redelivered) == (b"0", True)
    method, _, body = channel.basic_get("q")
    channel.basic_ack(method.delivery_tag)
    method, _, body = channel.basic_get("q", auto_ack=True)
    assert (body, method.message_count) == (b"2", 0)
    assert channel.basic_get("q") == (None, None, None)


def test_an_mqtt_reading_comes_to_an_amqp_queue_and_back(server, channel):
    channel.queue_declare("readings", durable=True)
    channel.queue_bind("readings", "amq.topic", "plant.*.temperature")
    subscriber = server.mosquitto_sub("-t", "commands/#", "-C", "1", "-v")
    time.sleep(0.5)
    server.mosquitto_pub("-t", "plant/7/temperature", "-m", "21", "-q", "1")
    ((method, _, body),) = take(channel, "readings", 1)
    assert (method.exchange, method.routing_key, body) == ("amq.topic", "plant.7.temperature", b"21")
    channel.basic_publish("amq.topic", "commands.7.stop", b"now")
    assert subscriber.communicate(timeout=20)[0] == "commands/7/stop now\n"


def test_a_second_virtual_host_is_refused(server):
    with pytest.raises(ProbableAccessDeniedError) as error:
        connect(server, virtual_host="other")
    assert "(530) 'NOT_ALLOWED - vhost other not found'" in str(error.value)


def test_heartbeats_keep_a_silent_connection(server):
    connection = connect(server, heartbeat=1)
    channel = connection.channel()
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.5)
    channel.queue_declare("still-there")
    connection.close()


def test_who_sends_no_heartbeats_is_closed(server):
    connection = connect(server, heartbeat=1)
    time.sleep(4)
    with pytest.raises(AMQPConnectionError):
        connection.channel()


def test_errors_of_a_channel_leave_the_connection(connection):
    broken = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as error:
        broken.basic_publish("nowhere", "k", b"x")
        broken.queue_declare("q")
    assert (error.value.reply_code, error.value.reply_text) == (404, "NOT_FOUND - no exchange 'nowhere' in vhost '/'")
    channel = connection.channel()
    channel.queue_declare("q")
    channel.queue_declare("other", durable=True)
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.queue_declare("q", durable=True)
    assert error.value.reply_code == 406
    channel = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.basic_ack(99)
        channel.queue_declare("q")
    assert error.value.reply_text == "PRECONDITION_FAILED - unknown delivery tag 99"


def test_consumers_are_told_when_their_queue_goes(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume("q", lambda *_: None)
    connection.channel().queue_delete("q")
    deadline = time.monotonic() + 5
    while not cancelled and time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.1)
    assert cancelled == [tag]


def test_a_publisher_on_another_thread_is_heard(server, connection):
    channel = connection.channel()
    channel.queue_declare("q")

    def publish():
        other = connect(server)
        publisher = other.channel()
        publisher.confirm_delivery()
        for number in range(200):
            publisher.basic_publish("", "q", str(number).encode())
        other.close()

    thread = threading.Thread(target=publish)
    thread.start()
    found = take(channel, "q", 200)
    thread.join()
    assert [int(body) for _, _, body in found] == list(range(200))
