"""What RabbitMQ has beyond the specification, with pika against a real server."""

import time

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, NackError
from test_amqp import connect, take

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@pytest.fixture
def connection(server):
    opened = connect(server)
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection):
    opened = connection.channel()
    opened.confirm_delivery()
    return opened


def listen(connection, seconds=0.5):
    """Takes what comes for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.1)


def bodies(found):
    return [body for _, _, body in found]


def count(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def wait_for_count(channel, queue, wanted, seconds=5):
    deadline = time.monotonic() + seconds
    while count(channel, queue) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count(channel, queue) == wanted


# Dead letters


def test_rejected_messages_go_to_the_dead_letter_exchange(channel):
    channel.exchange_declare("dlx", "topic", durable=True)
    channel.queue_declare("dead", durable=True)
    channel.queue_bind("dead", "dlx", "#")
    channel.queue_declare("work", durable=True, arguments={"x-dead-letter-exchange": "dlx"})
    channel.basic_publish("", "work", b"bad", pika.BasicProperties(delivery_mode=2, headers={"a": 1}))
    ((method, _, _),) = take(channel, "work", 1)
    channel.basic_reject(method.delivery_tag, requeue=False)
    channel.cancel()
    ((method, properties, body),) = take(channel, "dead", 1)
    assert body == b"bad"
    assert (method.exchange, method.routing_key, method.redelivered) == ("dlx", "work", False)
    (death,) = properties.headers["x-death"]
    assert (death["count"], death["reason"], death["queue"]) == (1, "rejected", "work")
    assert (death["exchange"], death["routing-keys"]) == ("", ["work"])
    assert properties.headers["x-first-death-queue"] == "work"
    assert properties.headers["a"] == 1


def test_a_retry_ladder_of_ttl_and_dead_letters(channel):
    """Expired in the waiting queue, back in the work queue: as applications delay retries."""
    channel.queue_declare("work", durable=True)
    channel.queue_declare(
        "wait",
        durable=True,
        arguments={
            "x-message-ttl": 300,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "work",
        },
    )
    begun = time.monotonic()
    channel.basic_publish("", "wait", b"later", PERSISTENT)
    ((method, properties, body),) = take(channel, "work", 1)
    assert body == b"later"
    assert time.monotonic() - begun > 0.25
    assert properties.headers["x-death"][0]["reason"] == "expired"
    assert method.routing_key == "work"


def test_expiration_of_a_message(channel):
    channel.queue_declare("dead", durable=True)
    channel.queue_declare(
        "q", durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    )
    channel.basic_publish("", "q", b"x", pika.BasicProperties(delivery_mode=2, expiration="100"))
    ((_, properties, _),) = take(channel, "dead", 1)
    assert properties.expiration is None
    assert properties.headers["x-death"][0]["original-expiration"] == "100"


def test_a_full_queue_drops_its_oldest(channel):
    channel.queue_declare("q", arguments={"x-max-length": 3})
    for number in range(6):
        channel.basic_publish("", "q", str(number).encode())
    assert bodies(take(channel, "q", 3)) == [b"3", b"4", b"5"]


def test_a_full_queue_refuses_what_is_published(channel):
    channel.queue_declare("q", durable=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.queue_declare("other", durable=True)
    channel.queue_bind("q", "amq.fanout", "")
    channel.queue_bind("other", "amq.fanout", "")
    for number in range(2):
        channel.basic_publish("amq.fanout", "", str(number).encode())
    with pytest.raises(NackError):
        channel.basic_publish("amq.fanout", "", b"2")
    assert (count(channel, "q"), count(channel, "other")) == (2, 3)


def test_a_quorum_queue_gives_up_after_its_delivery_limit(channel):
    channel.queue_declare("dead", durable=True)
    channel.queue_declare(
        "q",
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": 2,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        },
    )
    channel.basic_publish("", "q", b"poison", PERSISTENT)
    attempts = 0
    for method, _, _ in channel.consume("q", inactivity_timeout=2):
        if method is None:
            break
        attempts += 1
        channel.basic_nack(method.delivery_tag, requeue=True)
    channel.cancel()
    assert attempts == 3
    assert take(channel, "dead", 1)[0][1].headers["x-death"][0]["reason"] == "delivery_limit"


# Exchanges


def test_an_alternate_exchange_gets_what_is_routed_nowhere(channel):
    channel.exchange_declare("rest", "fanout")
    channel.exchange_declare("ex", "direct", arguments={"alternate-exchange": "rest"})
    for queue, exchange, key in [("known", "ex", "k"), ("unknown", "rest", "")]:
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange, key)
    channel.basic_publish("ex", "k", b"1", mandatory=True)
    channel.basic_publish("ex", "other", b"2", mandatory=True)
    ((method, _, body),) = take(channel, "unknown", 1)
    assert (body, method.exchange, method.routing_key) == (b"2", "ex", "other")
    channel.cancel()
    assert bodies(take(channel, "known", 1)) == [b"1"]


def test_exchanges_bound_to_each_other(channel):
    channel.exchange_declare("first", "topic")
    channel.exchange_declare("second", "topic")
    channel.exchange_bind("second", "first", "eu.#")
    channel.queue_declare("q")
    channel.queue_bind("q", "second", "#.created")
    for key in ["eu.order.created", "eu.order.deleted", "us.order.created"]:
        channel.basic_publish("first", key, key.encode())
    channel.basic_publish("second", "us.created", b"direct")
    assert sorted(bodies(take(channel, "q", 2))) == [b"direct", b"eu.order.created"]
    channel.cancel()
    channel.exchange_unbind("second", "first", "eu.#")
    channel.basic_publish("first", "eu.order.created", b"x")
    channel.basic_publish("", "q", b"end")
    assert bodies(take(channel, "q", 1))[0] in (b"direct", b"eu.order.created", b"end")


def test_an_internal_exchange_is_not_published_to(channel):
    channel.exchange_declare("inside", "direct", internal=True)
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.basic_publish("inside", "k", b"x")
    assert error.value.reply_code == 403


def test_a_consistent_hash_gives_each_message_to_one_queue(channel):
    channel.exchange_declare("hash", "x-consistent-hash")
    for queue in ["a", "b"]:
        channel.queue_declare(queue)
        channel.queue_bind(queue, "hash", "1")
    for number in range(100):
        channel.basic_publish("hash", f"key {number}", b"x")
    found = (count(channel, "a"), count(channel, "b"))
    assert sum(found) == 100
    assert min(found) > 10


def test_a_delayed_message_comes_when_its_time_has_come(channel):
    channel.exchange_declare("later", "x-delayed-message", arguments={"x-delayed-type": "direct"})
    channel.queue_declare("q")
    channel.queue_bind("q", "later", "k")
    begun = time.monotonic()
    channel.basic_publish("later", "k", b"later", pika.BasicProperties(headers={"x-delay": 500}))
    channel.basic_publish("later", "k", b"now")
    assert bodies(take(channel, "q", 2)) == [b"now", b"later"]
    assert time.monotonic() - begun > 0.4


def test_copies_go_to_further_keys(channel):
    for queue in ["a", "b", "c"]:
        channel.queue_declare(queue)
    channel.basic_publish("", "a", b"x", pika.BasicProperties(headers={"CC": ["b"], "BCC": ["c", "a"]}))
    for queue in ["a", "b", "c"]:
        ((_, properties, _),) = take(channel, queue, 1)
        channel.cancel()
        assert properties.headers == {"CC": ["b"]}


# Queues and consumers


def test_higher_priorities_come_first(channel):
    channel.queue_declare("q", arguments={"x-max-priority": 5})
    for priority in [1, 5, 3, None, 5]:
        channel.basic_publish("", "q", str(priority).encode(), pika.BasicProperties(priority=priority))
    assert bodies(take(channel, "q", 5)) == [b"5", b"5", b"3", b"1", b"None"]


def test_one_consumer_is_active_at_a_time(connection):
    channel = connection.channel()
    channel.queue_declare("q", arguments={"x-single-active-consumer": True})
    seen = []
    for name in ["a", "b"]:
        channel.basic_consume("q", lambda _, method, __, ___, name=name: seen.append(name), True, consumer_tag=name)
    for _ in range(10):
        channel.basic_publish("", "q", b"x")
    listen(connection)
    assert seen == ["a"] * 10
    channel.basic_cancel("a")
    for _ in range(3):
        channel.basic_publish("", "q", b"x")
    listen(connection)
    assert seen[10:] == ["b"] * 3


def test_consumers_with_a_higher_priority_come_first(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    seen = []
    for name, priority in [("low", 1), ("high", 10)]:
        channel.basic_consume(
            "q",
            lambda _, method, __, ___, name=name: seen.append(name),
            True,
            consumer_tag=name,
            arguments={"x-priority": priority},
        )
    for _ in range(10):
        channel.basic_publish("", "q", b"x")
    listen(connection)
    assert seen == ["high"] * 10


@pytest.mark.parametrize("is_before", [True, False])
def test_a_prefetch_count_for_the_channel_bounds_its_consumers_together(connection, is_before):
    channel = connection.channel()
    for queue in ["a", "b"]:
        channel.queue_declare(queue)
        for number in range(10):
            channel.basic_publish("", queue, str(number).encode())
    got = []
    if is_before:
        channel.basic_qos(prefetch_count=3, global_qos=True)
        for queue in ["a", "b"]:
            channel.basic_consume(queue, lambda _, method, __, body: got.append(method.delivery_tag))
    else:
        for queue in ["empty-a", "empty-b"]:
            channel.queue_declare(queue)
            channel.basic_consume(queue, lambda _, method, __, body: got.append(method.delivery_tag))
        channel.basic_qos(prefetch_count=3, global_qos=True)
        for number in range(20):
            channel.basic_publish("", "empty-a" if number % 2 else "empty-b", b"x")
    listen(connection)
    assert len(got) == 3
    channel.basic_ack(got[0])
    listen(connection)
    assert len(got) == 4
    channel.basic_qos(prefetch_count=6, global_qos=True)
    listen(connection)
    assert len(got) == 7
    channel.basic_ack(0, multiple=True)
    listen(connection)
    assert len(got) == 13


def test_a_queue_that_nobody_uses_expires(channel):
    channel.queue_declare("q", arguments={"x-expires": 400})
    time.sleep(1.2)
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.queue_declare("q", passive=True)
    assert error.value.reply_code == 404


# Transactions


def test_messages_of_a_transaction_come_with_its_commit(connection):
    channel = connection.channel()
    watcher = connection.channel()
    for queue in ["a", "b"]:
        channel.queue_declare(queue, durable=True)
    channel.tx_select()
    for queue in ["a", "b"]:
        channel.basic_publish("", queue, b"x", PERSISTENT)
    assert (count(watcher, "a"), count(watcher, "b")) == (0, 0)
    channel.tx_commit()
    assert (count(watcher, "a"), count(watcher, "b")) == (1, 1)
    channel.basic_publish("", "a", b"y", PERSISTENT)
    channel.tx_rollback()
    channel.tx_commit()
    assert count(watcher, "a") == 1


def test_acknowledgements_of_a_transaction_count_with_its_commit(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    channel.basic_publish("", "q", b"x")
    channel.tx_select()
    method, _, _ = channel.basic_get("q")
    channel.basic_ack(method.delivery_tag)
    channel.tx_rollback()
    channel.basic_ack(method.delivery_tag)
    channel.tx_commit()
    channel.close()
    assert count(connection.channel(), "q") == 0


# Streams


def test_a_stream_is_read_from_anywhere_and_as_often_as_wanted(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("s", durable=True, arguments={"x-queue-type": "stream"})
    channel.exchange_declare("ex", "fanout")
    channel.queue_bind("s", "ex", "")
    for number in range(10):
        channel.basic_publish("ex" if number % 2 else "", "s", str(number).encode())

    def read(offset, wanted):
        reader = connection.channel()
        reader.basic_qos(prefetch_count=3)
        found = []
        for method, properties, body in reader.consume(
            "s", arguments={"x-stream-offset": offset}, inactivity_timeout=5
        ):
            assert method is not None, found
            found.append((properties.headers["x-stream-offset"], int(body)))
            reader.basic_ack(method.delivery_tag)
            if len(found) == wanted:
                break
        reader.cancel()
        reader.close()
        return found

    assert read("first", 10) == [(number, number) for number in range(10)]
    assert read(7, 3) == [(7, 7), (8, 8), (9, 9)]
    assert read("last", 1) == [(9, 9)]
    assert read("1h", 10)[0] == (0, 0)
