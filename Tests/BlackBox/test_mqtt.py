"""MQTT with the clients that people use: Mosquitto's and Paho."""

import struct
import threading
import time

import paho.mqtt.client as paho
import pytest
from conftest import read_until_closed
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


class Client:
    """A Paho client whose events can be waited for."""

    def __init__(self, server, version="3.1.1", client_id="", will=None, keepalive=60):
        arguments = {} if version == "5" else {"clean_session": True}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=VERSIONS[version], **arguments
        )
        self.messages = []
        self.connack = None
        self.suback = None
        self.disconnect_reason = None
        self.event = threading.Condition()
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = self._on_disconnect
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", server.mqtt_port, keepalive)
        self.client.loop_start()
        self.wait(lambda: self.connack is not None)

    def _notify(self, change):
        with self.event:
            change()
            self.event.notify_all()

    def _on_connect(self, client, userdata, flags, reason, properties):
        self._notify(lambda: setattr(self, "connack", (reason, flags, properties)))

    def _on_message(self, client, userdata, message):
        self._notify(lambda: self.messages.append(message))

    def _on_subscribe(self, client, userdata, mid, reasons, properties):
        self._notify(lambda: setattr(self, "suback", reasons))

    def _on_disconnect(self, client, userdata, flags, reason, properties):
        self._notify(lambda: setattr(self, "disconnect_reason", reason))

    def wait(self, condition, seconds=10):
        with self.event:
            assert self.event.wait_for(condition, timeout=seconds), "what was waited for did not happen"

    def subscribe(self, *arguments, **options):
        self.suback = None
        self.client.subscribe(*arguments, **options)
        self.wait(lambda: self.suback is not None)
        return self.suback

    def publish(self, *arguments, **options):
        info = self.client.publish(*arguments, **options)
        info.wait_for_publish(10)
        assert info.is_published()

    def texts(self):
        return [(message.topic, message.payload.decode()) for message in self.messages]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def subscriber(server, *arguments):
    """A mosquitto_sub whose subscription is in effect."""
    process = server.mosquitto_sub("-d", *arguments)
    while True:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        if "Subscribed" in line:
            return process


def test_mosquitto_clients_publish_and_receive(server):
    process = subscriber(server, "-t", "factory/#", "-q", "1", "-C", "3", "-F", "got %t %q %p")
    for topic, qos, body in [("factory/line1/temp", "1", "21.5"), ("factory", "0", "on"), ("factory/a b/ü", "1", "x")]:
        assert server.mosquitto_pub("-t", topic, "-q", qos, "-m", body).returncode == 0
    received = [line.strip() for line in process.stdout if line.startswith("got ")]
    process.wait(timeout=5)
    assert received == ["got factory/line1/temp 1 21.5", "got factory 0 on", "got factory/a b/ü 1 x"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_connects_subscribes_and_publishes(server, version):
    client = Client(server, version, client_id="client-" + version)
    assert not client.connack[0].is_failure
    assert not client.connack[1].session_present
    reasons = client.subscribe([("a/+/c", 1), ("a/#", 0)])
    assert [reason.value for reason in reasons] == [1, 0]
    client.publish("a/b/c", "one", qos=1)
    client.publish("a/x", "two", qos=1)
    client.wait(lambda: len(client.messages) == 2)
    assert [(m.topic, m.qos) for m in client.messages] == [("a/b/c", 1), ("a/x", 0)]
    client.client.unsubscribe("a/#")
    client.publish("a/x", "three", qos=1)
    client.publish("a/b/c", "four", qos=1)
    client.wait(lambda: len(client.messages) == 3)
    assert client.texts()[2] == ("a/b/c", "four")
    client.close()


def test_version_5_properties_travel(server):
    client = Client(server, "5")
    client.subscribe("p/#", qos=1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "reply/here"
    properties.CorrelationData = b"\x00\x01"
    properties.MessageExpiryInterval = 100
    properties.PayloadFormatIndicator = 1
    properties.UserProperty = [("a", "1"), ("a", "2"), ("traceparent", "00-abc-def-01")]
    client.publish("p/x", "body", qos=1, properties=properties)
    client.wait(lambda: client.messages)
    received = client.messages[0].properties
    assert received.ContentType == "text/plain"
    assert received.ResponseTopic == "reply/here"
    assert received.CorrelationData == b"\x00\x01"
    assert 98 <= received.MessageExpiryInterval <= 100
    assert received.PayloadFormatIndicator == 1
    assert sorted(received.UserProperty) == [("a", "1"), ("a", "2"), ("traceparent", "00-abc-def-01")]
    client.close()


def test_subscription_identifiers_and_no_local(server):
    client = Client(server, "5")
    options = paho.SubscribeOptions(qos=1, noLocal=True)
    client.subscribe("own/#", options=options)
    properties = Properties(PacketTypes.SUBSCRIBE)
    properties.SubscriptionIdentifier = 7
    client.subscribe("other/#", qos=1, properties=properties)
    client.publish("own/x", "mine", qos=1)
    client.publish("other/x", "wanted", qos=1)
    client.wait(lambda: client.messages)
    assert client.texts() == [("other/x", "wanted")]
    assert client.messages[0].properties.SubscriptionIdentifier == [7]
    client.close()


def test_a_second_client_with_the_same_identifier_takes_over(server):
    first = server.connect(server.mqtt_port)
    first.sendall(connect_packet(client_id=b"same", level=5))
    assert first.recv(1024)[:1] == b"\x20"
    second = Client(server, "5", client_id="same")
    farewell = read_until_closed(first)
    assert (farewell[0], farewell[1], farewell[2]) == (0xE0, len(farewell) - 2, 0x8E)
    second.subscribe("x", qos=1)
    second.publish("x", "alive", qos=1)
    second.wait(lambda: second.messages)
    second.close()


def test_a_will_is_published_when_the_client_is_lost(server):
    watcher = Client(server)
    watcher.subscribe("wills/#", qos=1)
    lost = Client(server, client_id="lost", will=("wills/lost", "gone", 1, False))
    lost.client.socket().shutdown(2)
    lost.client.loop_stop()
    watcher.wait(lambda: watcher.messages)
    assert watcher.texts() == [("wills/lost", "gone")]
    polite = Client(server, client_id="polite", will=("wills/polite", "gone", 1, False))
    polite.close()
    watcher.publish("wills/marker", "end", qos=1)
    watcher.wait(lambda: len(watcher.messages) == 2)
    assert watcher.texts()[1] == ("wills/marker", "end")
    watcher.close()


def connect_packet(client_id=b"raw", keepalive=60, level=4, flags=2, name=b"MQTT"):
    body = struct.pack("!H", len(name)) + name + bytes([level, flags]) + struct.pack("!H", keepalive)
    if level == 5:
        body += b"\x00"
    body += struct.pack("!H", len(client_id)) + client_id
    return bytes([0x10, len(body)]) + body


def test_a_silent_client_is_closed_after_one_and_a_half_keep_alives(server):
    connection = server.connect(server.mqtt_port)
    connection.sendall(connect_packet(keepalive=1))
    started = time.monotonic()
    assert read_until_closed(connection) == b"\x20\x02\x00\x00"
    assert 1.4 <= time.monotonic() - started <= 6


def test_who_keeps_pinging_stays(server):
    connection = server.connect(server.mqtt_port)
    connection.sendall(connect_packet(keepalive=1))
    assert connection.recv(4) == b"\x20\x02\x00\x00"
    for _ in range(5):
        time.sleep(0.5)
        connection.sendall(b"\xc0\x00")
        assert connection.recv(2) == b"\xd0\x00"
    connection.close()


@pytest.mark.parametrize(
    "packet, answer",
    [
        pytest.param(b"\xc0\x00", b"", id="a first packet that is not CONNECT"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"", id="another protocol"),
        pytest.param(connect_packet(level=9), b"\x20\x03\x00\x84\x00", id="a version that does not exist"),
        pytest.param(connect_packet(level=3), b"\x20\x02\x00\x01", id="a level that is not the name's"),
        pytest.param(b"\x10\xff\xff\xff\xff\x01", b"", id="a length of five bytes"),
        pytest.param(b"\x10\xff\xff\xff\x7f", b"", id="a length beyond every limit"),
    ],
)
def test_a_bad_beginning_ends_the_connection(server, packet, answer):
    connection = server.connect(server.mqtt_port)
    connection.sendall(packet)
    connection.settimeout(10)
    assert read_until_closed(connection) == answer
    assert server.mosquitto_pub("-t", "still/there", "-m", "x", "-q", "1").returncode == 0


@pytest.mark.parametrize(
    "packet, reason",
    [
        pytest.param(connect_packet(level=5), 0x82, id="a second CONNECT"),
        pytest.param(b"\x30\x05\x00\x03a/#\x00", 0x81, id="a wildcard in a published name"),
        pytest.param(b"\x32\x06\x00\x01a\x00\x00\x00", 0x82, id="packet identifier zero"),
        pytest.param(b"\x82\x07\x00\x01\x00\x00\x01#\xc0", 0x81, id="reserved bits in a subscription"),
        pytest.param(b"\x30\x06\x00\x02\xff\xfe\x00x", 0x81, id="a name that is not UTF-8"),
        pytest.param(b"\x30\x80\x80\x80\x02", 0x95, id="a packet larger than allowed"),
        pytest.param(b"\xf0\x00", 0x82, id="AUTH without a method"),
    ],
)
def test_a_violation_ends_a_version_5_connection_with_its_reason(server, packet, reason):
    bystander = Client(server, "5")
    bystander.subscribe("calm", qos=1)
    connection = server.connect(server.mqtt_port)
    connection.sendall(connect_packet(level=5))
    connection.recv(1024)
    connection.sendall(packet)
    farewell = read_until_closed(connection)
    assert farewell[:1] == b"\xe0"
    assert farewell[2] == reason
    bystander.publish("calm", "untouched", qos=1)
    bystander.wait(lambda: bystander.messages)
    bystander.close()


def test_packets_split_at_every_byte_arrive_whole(server):
    connection = server.connect(server.mqtt_port)
    stream = connect_packet(client_id=b"slow") + b"\x82\x08\x00\x01\x00\x03s/#\x01"
    stream += b"\x32\x0a\x00\x03s/x\x00\x02abc" + b"\x30\x0a\x00\x03s/ydefgh" + b"\xc0\x00"
    for position in range(len(stream)):
        connection.sendall(stream[position : position + 1])
        time.sleep(0.001)
    received = b""
    expected = 4 + 5 + 4 + 2 + 12 + 12
    while len(received) < expected:
        received += connection.recv(4096)
    assert received.startswith(b"\x20\x02\x00\x00\x90\x03\x00\x01\x01")
    assert b"\x40\x02\x00\x02" in received
    assert b"s/xabc" in received.replace(b"s/x\x00\x01", b"s/x")
    assert b"s/ydefgh" in received
    connection.close()


def test_a_half_packet_and_an_early_close_hurt_nobody(server):
    for piece in [b"\x10", connect_packet()[:7], connect_packet() + b"\x32\x50\x00\x10abc"]:
        connection = server.connect(server.mqtt_port)
        connection.sendall(piece)
        connection.close()
    assert server.mosquitto_pub("-t", "x", "-m", "y", "-q", "1").returncode == 0


def test_a_subscriber_that_does_not_read_holds_nobody_up(server):
    stuck = server.connect(server.mqtt_port)
    stuck.sendall(connect_packet(client_id=b"stuck") + b"\x82\x08\x00\x01\x00\x03b/#\x00")
    assert stuck.recv(4) == b"\x20\x02\x00\x00"
    reader = Client(server)
    reader.subscribe("b/#", qos=1)
    body = "x" * 100_000
    for number in range(200):
        reader.publish("b/x", body, qos=1)
    reader.wait(lambda: len(reader.messages) == 200, seconds=30)
    reader.close()
    stuck.close()
