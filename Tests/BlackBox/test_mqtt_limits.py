"""What an MQTT client may take up, and what it is told beyond that."""

import socket
import struct
import time

import pytest
from conftest import read_until_closed
from test_mqtt_sessions import DISCONNECT, PUBACK, PUBLISH, SUBACK, Raw, packet, text, varint


def connack(server, level, client_id):
    """The answer to a CONNECT on a connection of its own, which stays open."""
    connection = server.connect(server.mqtt_port)
    properties = b"\x00" if level == 5 else b""
    connection.sendall(packet(0x10, text("MQTT") + bytes([level, 2, 0, 60]) + properties + text(client_id)))
    head = connection.recv(4, socket.MSG_WAITALL)
    return connection, head[3]


@pytest.mark.parametrize("level,code", [(4, 3), (5, 0x97)])
def test_more_connections_than_there_may_be_are_refused(make_server, level, code):
    server = make_server("few", ["mqtt.max_connections=2"]).start()
    first, second = connack(server, level, "a"), connack(server, level, "b")
    assert (first[1], second[1]) == (0, 0)
    third = connack(server, level, "c")
    assert third[1] == code
    read_until_closed(third[0])
    third[0].close()
    first[0].close()
    # Its place is free again.
    deadline = time.monotonic() + 10
    while connack(server, level, "d")[1] != 0:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("level,code", [(4, 3), (5, 0x9F)])
def test_more_clients_in_a_second_than_there_may_be_are_told_to_come_later(make_server, level, code):
    server = make_server("slow", ["mqtt.connect_rate=5"]).start()
    answers = [connack(server, level, f"c{number}")[1] for number in range(50)]
    assert set(answers) == {0, code}
    assert answers[:5] == [0] * 5
    time.sleep(1.1)
    assert connack(server, level, "later")[1] == 0


def test_a_topic_may_be_so_long_and_so_deep(make_server):
    server = make_server("topics", ["mqtt.max_topic_length=20", "mqtt.max_topic_levels=3"]).start()
    client = Raw(server, "t", clean=True)
    assert client.subscribe(("a/b/c", 0), ("x" * 20, 0)) == [0, 0]
    for topic in ["a/b/c/d", "y" * 21]:
        client = Raw(server, "t", clean=True)
        client.publish(topic, "")
        assert client.expect(DISCONNECT).reason == 0x90
        client = Raw(server, "t", clean=True)
        client.send(packet(0x82, struct.pack("!H", 1) + b"\x00" + text(topic) + b"\x00"))
        assert client.expect(DISCONNECT).reason == 0x8F


def test_a_client_may_have_so_many_filters(make_server):
    server = make_server("filters", ["mqtt.max_subscriptions=2"]).start()
    client = Raw(server, "f", clean=True)
    assert client.subscribe(("a", 0), ("b", 1), ("c", 0)) == [0, 1, 0x97]
    # One that is there is replaced, and one that goes makes room.
    assert client.subscribe(("a", 1)) == [1]
    client.unsubscribe("b")
    assert client.subscribe(("c", 0)) == [0]


@pytest.mark.parametrize("clean", [True, False])
def test_so_many_messages_are_in_flight_to_a_client(make_server, clean):
    server = make_server("flight", ["mqtt.max_in_flight=3"]).start()
    client = Raw(server, "slow", clean=clean)
    client.subscribe(("n", 1))
    publisher = Raw(server, "fast", clean=True)
    for number in range(1, 7):
        publisher.publish("n", str(number), qos=1, id=number)
    for number in range(1, 7):
        publisher.expect(PUBACK, id=number)
    first = [client.expect(PUBLISH) for _ in range(3)]
    client.silent()
    client.ack(PUBACK, first[0].id)
    assert client.expect(PUBLISH).payload == "4"
    client.silent()


def test_a_connection_that_says_nothing_is_closed(make_server):
    server = make_server("mute", ["mqtt.connect_timeout=300ms"]).start()
    with server.connect(server.mqtt_port) as connection:
        assert read_until_closed(connection) == b""


def resident(server):
    with open(f"/proc/{server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_who_does_not_read_his_answers_is_not_read_either(make_server):
    server = make_server("stuck", ["mqtt.max_outgoing_buffer=64KiB", "mqtt.max_packet_size=64KiB"]).start()
    stuck = Raw(server, "stuck", clean=True)
    before = resident(server)
    stuck.socket.settimeout(2)
    # Answers are ten times as long as what they answer: the identifier is not in use, and the server says so in words.
    releases = b"\x62\x02\x00\x09" * 20_000
    sent = 0
    with pytest.raises(socket.timeout):
        while sent < 200 << 20:
            sent += stuck.socket.send(releases)
    assert resident(server) - before < 40 << 20
    # Others are not held up, and it goes on where it reads.
    other = Raw(server, "other", clean=True)
    other.silent()
    stuck.socket.settimeout(10)
    answers = 0
    while answers < sent // 4:
        stuck.expect(7, id=9, reason=0x92)
        answers += 1


def test_a_message_larger_than_the_client_takes_is_dropped_and_nothing_else(server):
    # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    for clean in [True, False]:
        client = Raw(server, f"small{clean}", clean=clean, properties=b"\x27" + struct.pack("!I", 60))
        client.subscribe(("s", 1))
        publisher = Raw(server, "p", clean=True)
        for number, payload in enumerate(["one", "x" * 100, "three"], 1):
            publisher.publish("s", payload, qos=1, id=number)
            publisher.expect(PUBACK, id=number, reason=0)
        assert client.expect(PUBLISH).payload == "one"
        assert client.expect(PUBLISH).payload == "three"
        client.silent()
        client.drop()


# Server redirection, and reasons in words


def connack_of(server, level, extra=b""):
    with server.connect(server.mqtt_port) as connection:
        properties = varint(len(extra)) + extra if level == 5 else b""
        connection.sendall(packet(0x10, text("MQTT") + bytes([level, 2, 0, 60]) + properties + text("c")))
        return read_until_closed(connection)


@pytest.mark.parametrize("setting,reason", [("temporarily", 0x9C), ("permanently", 0x9D)])
def test_clients_are_sent_to_another_server(make_server, setting, reason):
    settings = [f"mqtt.redirect={setting}", "mqtt.server_reference=other.example:1883, third.example:1884"]
    server = make_server("moved", settings).start()
    answer = connack_of(server, 5)
    assert answer[3] == reason
    assert b"\x1c" + text("other.example:1883 third.example:1884") in answer
    assert connack_of(server, 4) == b"\x20\x02\x00\x03"


def test_a_full_server_sends_clients_to_another(make_server):
    settings = ["mqtt.redirect=when_full", "mqtt.max_connections=1", "mqtt.server_reference=other.example:1883"]
    server = make_server("full", settings).start()
    first = Raw(server, "first", clean=True)
    answer = connack_of(server, 5)
    assert answer[3] == 0x9C and b"\x1c" + text("other.example:1883") in answer
    first.silent()


NO_PROBLEM_INFORMATION = b"\x17\x00"


@pytest.mark.parametrize("wants", [True, False])
def test_refusals_are_explained_where_the_client_wants_that(make_server, wants):
    # [MQTT-3.1.2-29]
    server = make_server("words", ["mqtt.max_subscriptions=1"]).start()
    properties = b"" if wants else NO_PROBLEM_INFORMATION
    client = Raw(server, "c", clean=True, properties=properties)

    def explained(first, kind):
        client.send(first)
        received = client.expect(kind)
        return b"\x1f" in received.body[2:4] or b"\x1f" in received.body[3:5]

    # PUBACK of a topic that is the server's own, SUBACK over the limit, PUBCOMP of what is not known.
    assert explained(packet(0x32, text("$SYS/x") + b"\x00\x01\x00"), PUBACK) is wants
    assert explained(packet(0x82, b"\x00\x01\x00" + text("a") + b"\x00" + text("b") + b"\x00"), SUBACK) is wants
    assert explained(packet(0x62, b"\x00\x09"), 7) is wants
    # DISCONNECT may say it to everybody.
    client.send(packet(0x10, b""))
    assert b"\x1f" in client.expect(DISCONNECT).body


def test_what_is_explained_fits_into_the_packets_of_the_client(server):
    # [MQTT-3.4.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1]
    client = Raw(server, "small", clean=True, expiry=None, properties=b"\x27" + struct.pack("!I", 20))
    client.send(packet(0x32, text("$SYS/x") + b"\x00\x01\x00"))
    assert client.expect(PUBACK, reason=0x87).body == b"\x00\x01\x87"
    client.send(packet(0x62, b"\x00\x09"))
    assert client.expect(7, reason=0x92).body == b"\x00\x09\x92"
