import json
from types import SimpleNamespace

import pytest

from bench.figures import Missing
from bench.rows.mix import COMMAND, GATEWAYS, LIST, UPDATE, mixed, on_mosquitto


@pytest.mark.parametrize("text", [COMMAND, UPDATE, LIST])
def test_requests_of_the_mix_are_json_for_a_device(text):
    request = json.loads(text.replace("{n}", "1000000000").replace("{i}", "7").replace("{d}", "000042"))
    assert request["deviceId"] == "o-000042"
    assert request["requestId"].removeprefix("u") == "1000000000"


@pytest.mark.parametrize("run", [mixed, on_mosquitto])
def test_with_too_few_files_it_says_what_to_raise(run):
    bench = SimpleNamespace(sizes=SimpleNamespace(connections=GATEWAYS - 1))
    with pytest.raises(Missing, match="ulimit"):
        run(bench)
