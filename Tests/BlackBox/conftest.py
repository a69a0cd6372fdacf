"""Fixtures: a real server on free loopback ports, and the clients that talk to it."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SLUICE_BINARY", str(ROOT / ".build/release/sluice"))
START_SECONDS = 30

sys.path.insert(0, str(pathlib.Path(__file__).parent / "native_client"))


class Server:
    """One server process, bounded in time by the test that owns it, and stopped by its process id."""

    def __init__(self, data_dir, settings=()):
        self.data_dir = str(data_dir)
        self.settings = list(settings)
        self.process = None
        self.ports = {}

    def start(self):
        """Starts the process and waits until it says that it is ready; on a restart it gets the same ports."""
        arguments = [BINARY, "serve", "--data-dir", self.data_dir]
        settings = {
            "storage.segment_size": "16MiB",
            "log.level": "warning",
            "native.listen": f"127.0.0.1:{self.ports.get('native', 0)}",
            "mqtt.listen": f"127.0.0.1:{self.ports.get('mqtt', 0)}",
            "amqp.listen": f"127.0.0.1:{self.ports.get('amqp', 0)}",
            "http.listen": f"127.0.0.1:{self.ports.get('http', 0)}",
        }
        settings.update(setting.split("=", 1) for setting in self.settings)
        for key, value in settings.items():
            arguments += ["--set", f"{key}={value}"]
        self.log = open(self.data_dir + ".log", "ab")
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.log, text=True)
        deadline = time.monotonic() + START_SECONDS
        while True:
            line = self.process.stdout.readline()
            if not line or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not start: " + self.log_text())
            if line.strip() == "ready":
                return self
            match = re.match(r"(\w+) listens on .*:(\d+)$", line.strip())
            if match:
                self.ports[match.group(1)] = int(match.group(2))

    def log_text(self):
        with open(self.data_dir + ".log", errors="replace") as log:
            return log.read()[-4000:]

    @property
    def native_port(self):
        return self.ports["native"]

    @property
    def mqtt_port(self):
        return self.ports["mqtt"]

    @property
    def amqp_port(self):
        return self.ports["amqp"]

    @property
    def http_port(self):
        return self.ports["http"]

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """Ends it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)
        self.process.stdout.close()
        self.log.close()

    def stop(self):
        """Asks it to stop, and waits until everything is on disk."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        self.log.close()
        return code

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    # Clients

    def sluice(self, *arguments, timeout=20, input=None, check=True):
        """Runs the console against this server."""
        environment = dict(os.environ)
        environment["SLUICE_SERVER"] = f"127.0.0.1:{self.ports.get('native', 0)}"
        environment["SLUICE_URL"] = f"http://127.0.0.1:{self.ports.get('http', 0)}"
        result = subprocess.run(
            [BINARY, *arguments], capture_output=True, text=True, timeout=timeout, input=input, env=environment
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    def mosquitto_pub(self, *arguments, timeout=10):
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.mqtt_port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def mosquitto_sub(self, *arguments):
        """A subscriber that runs until it has its messages (`-C`) or 20 seconds are over (`-W`)."""
        command = ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.mqtt_port), "-W", "20", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def connect(self, port):
        """A raw connection."""
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        return connection


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path / "data").start()
    yield running
    if running.is_running():
        running.stop()


@pytest.fixture
def make_server(tmp_path):
    """Makes servers that are not started yet; whatever still runs at the end is killed."""
    made = []

    def make(name="data", settings=()):
        new = Server(tmp_path / name, settings)
        made.append(new)
        return new

    yield make
    for each in made:
        if each.is_running():
            each.kill()


def read_until_closed(connection, limit=1 << 20):
    """Everything the server still sends."""
    received = b""
    while len(received) < limit:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        received += piece
    return received
