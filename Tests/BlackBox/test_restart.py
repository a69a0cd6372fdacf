"""Acknowledged means stored: whatever was acknowledged is there once, in order, after the server was killed."""

import random
import threading
import time

import paho.mqtt.client as paho
import sluice_native


class Publisher(threading.Thread):
    """Publishes numbers over MQTT at QoS 1 until told to stop, and notes which were acknowledged."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.name = name
        self.acknowledged = []
        self.sent = 0
        self.stopping = threading.Event()
        self.numbers = {}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=True)
        self.client.max_inflight_messages_set(200)
        self.client.on_publish = lambda client, userdata, mid, reason, properties: self.acknowledged.append(
            self.numbers[mid]
        )
        self.client.connect("127.0.0.1", server.mqtt_port)
        self.client.loop_start()

    def run(self):
        while not self.stopping.is_set():
            if self.sent - len(self.acknowledged) > 150:
                time.sleep(0.001)
                continue
            number = self.sent
            self.sent += 1
            info = self.client.publish(f"load/{self.name}", f"{self.name}:{number}", qos=1)
            self.numbers[info.mid] = number

    def abandon(self):
        self.stopping.set()
        self.join(5)
        self.client.loop_stop()


def read_all(server, topic="default"):
    """The body of every message of a topic, by the native protocol, in the order of offsets."""
    bodies = []
    with sluice_native.Client(port=server.native_port) as client:
        while True:
            records, _, _ = client.fetch(topic, len(bodies), max_bytes=4 << 20)
            if not records:
                return bodies
            assert [r.offset for r in records] == list(range(len(bodies), len(bodies) + len(records)))
            bodies += [record.body.decode() for record in records]


def check(messages, publishers):
    """Each publisher's stored messages are distinct, in order, and hold everything it was acknowledged."""
    for publisher in publishers:
        stored = [int(m.split(":")[1]) for m in messages if m.startswith(publisher.name + ":")]
        assert stored == sorted(set(stored)), f"{publisher.name}: repeated or out of order"
        assert all(number < publisher.sent for number in stored), f"{publisher.name}: never sent"
        missing = set(publisher.acknowledged) - set(stored)
        assert not missing, f"{publisher.name}: acknowledged and lost: {sorted(missing)[:10]}"


def test_kill_under_load_loses_nothing_acknowledged(make_server):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    generator = random.Random(seed)
    server = make_server()
    publishers = []
    for round_number in range(8):
        server.start()
        current = [Publisher(server, f"r{round_number}p{index}") for index in range(3)]
        publishers += current
        for publisher in current:
            publisher.start()
        time.sleep(generator.uniform(0.05, 0.8))
        server.kill()
        for publisher in current:
            publisher.abandon()
    server.start()
    messages = read_all(server)
    check(messages, publishers)
    assert sum(len(p.acknowledged) for p in publishers) > 100
    server.stop()
    server.start()
    assert read_all(server) == messages
    server.stop()
