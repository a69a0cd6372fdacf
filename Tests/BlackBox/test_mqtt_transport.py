"""MQTT over WebSocket, and behind a load balancer that sends PROXY headers."""

import base64
import os
import socket
import struct
import threading

import paho.mqtt.client as paho
import pytest
from conftest import read_until_closed
from test_mqtt_sessions import CONNACK, PINGRESP, packet, text

CONNECT = packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("raw"))


@pytest.fixture
def web(make_server):
    """A server with a WebSocket address of its own."""
    return make_server("web", ["mqtt.websocket_listen=127.0.0.1:0"]).start()


def websocket_client(port, client_id, version=paho.MQTTv5):
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, transport="websockets"
    )
    client.ws_set_options(path="/mqtt")
    client.connected = threading.Event()
    client.subscribed = threading.Event()
    client.received = []
    client.got = threading.Event()
    client.on_connect = lambda *_: client.connected.set()
    client.on_subscribe = lambda *_: client.subscribed.set()

    def on_message(_, __, message):
        client.received.append((message.topic, len(message.payload), message.qos))
        client.got.set()

    client.on_message = on_message
    client.connect("127.0.0.1", port, 60)
    client.loop_start()
    assert client.connected.wait(10)
    return client


@pytest.mark.parametrize("port", ["mqtt_websocket", "http"])
@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
def test_paho_speaks_mqtt_over_websocket(web, port, version):
    client = websocket_client(web.ports[port], "web", version)
    client.subscribe("w/#", qos=2)
    assert client.subscribed.wait(10)
    for qos, size in [(0, 3), (1, 200), (2, 70_000)]:
        client.got.clear()
        client.publish("w/x", "x" * size, qos=qos).wait_for_publish(10)
        assert client.got.wait(10)
        assert client.received[-1] == ("w/x", size, qos)
    # One protocol or the other, the messages are the same.
    client.got.clear()
    assert web.mosquitto_pub("-t", "w/tcp", "-m", "hello", "-q", "1").returncode == 0
    assert client.got.wait(10)
    assert client.received[-1] == ("w/tcp", 5, 1)
    client.disconnect()
    client.loop_stop()


def get(port, path, *headers):
    """One HTTP request, with what is answered until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return read_until_closed(connection).decode(errors="replace")


def test_http_goes_on_beside_websocket_on_its_port(web):
    assert get(web.http_port, "/livez", "Connection: close").startswith("HTTP/1.1 200 ")
    assert get(web.http_port, "/mqttx", "Connection: close").startswith("HTTP/1.1 404 ")
    answer = get(web.http_port, "/mqtt")
    assert answer.startswith("HTTP/1.1 426 ") and "upgrade: websocket" in answer.lower()
    # In pieces as well.
    with socket.create_connection(("127.0.0.1", web.http_port), timeout=10) as connection:
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert b"200" in read_until_closed(connection)


def test_websocket_can_be_kept_off_the_http_port(make_server):
    server = make_server("off", ["mqtt.websocket_on_http=false"]).start()
    assert get(server.http_port, "/mqtt", "Connection: close").startswith("HTTP/1.1 404 ")


class WebSocket:
    """A WebSocket connection, frame by frame."""

    def __init__(self, port, protocol="mqtt", beginning=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(beginning)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            (
                f"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
            ).encode()
        )
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            piece = self.socket.recv(1)
            assert piece, self.head
            self.head += piece

    def send(self, payload, opcode=2, final=True):
        mask = os.urandom(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.socket.sendall(bytes([(0x80 if final else 0) | opcode]) + length + mask + masked)

    def frame(self):
        head = self.socket.recv(2, socket.MSG_WAITALL)
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack("!H", self.socket.recv(2, socket.MSG_WAITALL))[0]
        return head[0] & 0x0F, self.socket.recv(length, socket.MSG_WAITALL) if length else b""


def test_packets_need_not_fit_into_frames(web):
    # [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-3] [MQTT-6.0.0-4]
    client = WebSocket(web.ports["mqtt_websocket"])
    assert b"101" in client.head and b"sec-websocket-protocol: mqtt\r\n" in client.head.lower()
    for byte in CONNECT:
        client.send(bytes([byte]))
    opcode, payload = client.frame()
    assert (opcode, payload[0] >> 4) == (2, CONNACK)
    client.send(b"\xc0\x00\xc0\x00\xc0")
    client.send(b"\x00", final=False)
    client.send(b"\xc0", opcode=0, final=False)
    client.send(b"\x00", opcode=0)
    answers = b""
    while len(answers) < 8:
        opcode, payload = client.frame()
        assert opcode == 2
        answers += payload
    assert answers == bytes([PINGRESP << 4, 0]) * 4


def upgrade(port, *headers):
    return get(
        port, "/mqtt", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: mqtt", *headers,
    )


def test_pages_of_other_sites_may_not_connect(make_server):
    settings = ["mqtt.websocket_origins=https://app.example", "mqtt.connect_timeout=300ms"]
    server = make_server("origins", settings).start()
    for origin, status in [("http://localhost", 101), ("https://app.example", 101), ("https://evil.example", 403)]:
        assert upgrade(server.http_port, f"Origin: {origin}").startswith(f"HTTP/1.1 {status} ")


def test_text_frames_end_the_connection(web):
    client = WebSocket(web.ports["mqtt_websocket"])
    client.send(CONNECT, opcode=1)
    assert client.frame() == (8, struct.pack("!H", 1003))
    assert client.frame() is None


def test_a_client_of_a_server_that_stops_gets_its_farewell(web):
    client = WebSocket(web.http_port)
    client.send(packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("raw")))
    assert client.frame()[1][0] >> 4 == CONNACK
    assert web.stop() == 0
    opcode, payload = client.frame()
    assert (opcode, payload[0], payload[2]) == (2, 0xE0, 0x8B)


def test_a_websocket_connection_that_says_nothing_is_closed(make_server):
    server = make_server("mute", ["mqtt.websocket_listen=127.0.0.1:0", "mqtt.connect_timeout=300ms"]).start()
    with socket.create_connection(("127.0.0.1", server.ports["mqtt_websocket"]), timeout=10) as connection:
        assert read_until_closed(connection) == b""
    client = WebSocket(server.ports["mqtt_websocket"])
    assert client.frame() in [None, (8, struct.pack("!H", 1000))]


# PROXY protocol


@pytest.fixture
def proxied(make_server):
    return make_server("proxied", ["mqtt.listen=127.0.0.1:0", "mqtt.proxy_protocol=127.0.0.1:0"]).start()


V1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 1883\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", 12) + bytes([192, 0, 2, 7, 192, 0, 2, 8, 0x13, 0x88, 7, 0x5B])


@pytest.mark.parametrize("header", [V1, V2], ids=["version 1", "version 2"])
@pytest.mark.parametrize("cut", [0, 5, 1000])
def test_a_proxy_header_is_taken_off(proxied, header, cut):
    with proxied.connect(proxied.mqtt_port) as connection:
        whole = header + CONNECT
        connection.sendall(whole[:cut])
        connection.sendall(whole[cut:])
        assert connection.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x00\x00"


def test_the_console_shows_the_address_that_the_proxy_header_says(make_server):
    address = "127.0.0.1:0"
    for setting in ["mqtt.listen", "mqtt.websocket_listen"]:
        settings = [f"{setting}={address}", f"mqtt.proxy_protocol={address}"]
        server = make_server(setting, settings).start()
        if setting == "mqtt.listen":
            client = server.connect(server.mqtt_port)
            client.sendall(V1 + CONNECT)
            assert client.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x00\x00"
        else:
            client = WebSocket(server.ports["mqtt_websocket"], beginning=V1)
            client.send(CONNECT)
            assert client.frame() == (2, b"\x20\x02\x00\x00")
        assert "192.0.2.7:5000" in server.sluice("session", "list").stdout
        assert server.stop() == 0


@pytest.mark.parametrize("beginning", [CONNECT, b"PROXY nonsense\r\n" + CONNECT, V2[:12] + b"\x31\x11\0\0" + CONNECT])
def test_who_comes_without_the_proxy_header_is_closed(proxied, beginning):
    with proxied.connect(proxied.mqtt_port) as connection:
        connection.sendall(beginning)
        assert read_until_closed(connection) == b""


def test_an_address_for_proxies_must_be_one_that_is_listened_on(server):
    result = server.sluice("config", "show", "--set", "mqtt.proxy_protocol=127.0.0.1:9", check=False)
    assert result.returncode != 0
    assert "127.0.0.1:9 is not in mqtt.listen or mqtt.websocket_listen" in result.stderr
