"""What a server refuses to start on, and how it says so."""

import os
import pathlib
import subprocess

from conftest import BINARY


def start_failing(data_dir, *settings):
    arguments = [BINARY, "serve", "--data-dir", str(data_dir), "--set", "mqtt.listen=127.0.0.1:0"]
    for front in ["native", "amqp", "http"]:
        arguments += ["--set", f"{front}.listen=127.0.0.1:0"]
    for setting in settings:
        arguments += ["--set", setting]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stderr


def test_a_second_server_on_the_same_directory(server):
    message = start_failing(server.data_dir)
    assert str(server.pid) in message
    assert "hint:" in message
    assert server.is_running()


def test_a_directory_of_another_node(make_server):
    server = make_server().start()
    server.stop()
    message = start_failing(server.data_dir, "node.name=other")
    assert "standalone" in message and "other" in message


def test_a_directory_of_a_newer_version(make_server):
    server = make_server().start()
    server.stop()
    node = pathlib.Path(server.data_dir) / "NODE"
    lines = node.read_text().splitlines()
    node.write_text("\n".join("format: 999" if line.startswith("format") else line for line in lines) + "\n")
    assert "999" in start_failing(server.data_dir)


def test_a_directory_of_something_else(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "photo.jpg").write_text("not ours")
    message = start_failing(foreign)
    assert "photo.jpg" in message or "foreign" in message
    assert sorted(os.listdir(foreign)) == ["photo.jpg"]


def test_an_address_in_use_is_named(server, tmp_path):
    message = start_failing(tmp_path / "new", f"mqtt.listen=127.0.0.1:{server.mqtt_port}")
    assert str(server.mqtt_port) in message


def test_an_unknown_key_is_placed(tmp_path):
    configuration = tmp_path / "bad.yaml"
    configuration.write_text("mqtt:\n  listne: 127.0.0.1:1883\n")
    result = subprocess.run(
        [BINARY, "serve", "--config", str(configuration)], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 1
    assert "bad.yaml:2:3" in result.stderr
    assert "listen" in result.stderr
