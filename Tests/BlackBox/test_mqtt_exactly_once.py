"""Exactly once with a real client, over a server that is killed again and again."""

import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

COUNT = 300


class Client:
    """A client that keeps its session, and comes back by itself."""

    def __init__(self, server, name, filter=None):
        self.got = []
        self.acknowledged = 0
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda client, data, message: self.got.append(message.payload.decode())
        self.client.on_publish = self.published
        granted = threading.Event()
        self.client.on_subscribe = lambda client, data, id, reasons, properties: granted.set()
        connected = threading.Event()
        self.client.on_connect = lambda client, data, flags, reason, properties: connected.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 1000
        self.client.connect("127.0.0.1", server.mqtt_port, clean_start=False, properties=properties)
        self.client.loop_start()
        assert connected.wait(10)
        if filter:
            self.client.subscribe(filter, 2)
            assert granted.wait(10)

    def published(self, client, data, id, reason, properties):
        self.acknowledged += 1

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_everything_comes_once_to_each_and_once_to_a_group(server):
    members = [Client(server, f"member {number}", "$share/group/once/#") for number in range(2)]
    alone = Client(server, "alone", "once/#")
    publisher = Client(server, "publisher")

    def publish():
        for number in range(COUNT):
            publisher.client.publish("once/x", str(number), 2)
            time.sleep(0.015)

    thread = threading.Thread(target=publish)
    thread.start()
    for _ in range(3):
        time.sleep(1.3)
        server.kill()
        server.start()
    thread.join()
    wanted = sorted(str(number) for number in range(COUNT))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (
        publisher.acknowledged < COUNT or len(alone.got) < COUNT or sum(len(member.got) for member in members) < COUNT
    ):
        time.sleep(0.2)
    # What comes twice would come now.
    time.sleep(1)
    assert publisher.acknowledged == COUNT
    assert sorted(alone.got) == wanted
    assert sorted(members[0].got + members[1].got) == wanted
    assert all(member.got for member in members)
    for client in [*members, alone, publisher]:
        client.stop()
