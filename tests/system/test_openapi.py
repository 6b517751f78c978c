"""The REST API against its own description: schemathesis makes requests of the OpenAPI document and holds the answers to it.

The same requests every time: a fixed seed, no data from earlier answers. To look for more, run the command line of schemathesis,
``st run``, against a server, with as many examples as there is time for.
"""

import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CoverageScenario, coverage_scenario

from dhtwisted import __version__
from dhtwisted.reference import openapi
from tests.support.servers.hive import BASE, SECONDS, Hive

pytestmark = pytest.mark.slow

load_all_checks()
REFUSAL, ACCEPTANCE = CHECKS.get_by_names(["negative_data_rejection", "positive_data_acceptance"])

OFF, ON = {"enabled": False}, {"enabled": True}
CHECKED = {
    # Both expect an object to stay as it is from one request to the next, but other examples change it.
    "use_after_free": OFF,
    "ensure_resource_availability": OFF,
    # Who may see what is tested with transcripts.
    "object_level_authorization": OFF,
    # A number is taken for a text, and the other way round: random changes of types are no errors. Where one limit at a time is
    # broken, in the phase of coverage, requests must be refused.
    "negative_data_rejection": OFF,
}


def described(mode, **phases):
    """The description, to be turned into requests.

    :param mode: ``positive`` for requests as it describes them, ``all`` for others too.
    """
    configuration = {
        "seed": 1,
        "suppress-health-check": ["all"],
        "generation": {"mode": mode, "deterministic": True, "database": "none"},
        "phases": phases,
        "checks": CHECKED,
    }
    return schemathesis.openapi.from_dict(openapi(BASE, __version__), config=SchemathesisConfig.from_dict(configuration))


def fuzzing(examples):
    """Random requests, that do not depend on earlier answers."""
    return {
        "generation": {"max-examples": examples},
        "error-feedback": {"enabled": False},
        "extra-data-sources": {"responses": False},
    }


USUAL = described("positive", fuzzing=fuzzing(5))
ANY = described("all", fuzzing=fuzzing(5), coverage={"checks": {"negative_data_rejection": ON}})


@pytest.fixture(scope="module")
def hive(tmp_path_factory):
    hive = Hive(tmp_path_factory.mktemp("hive"))
    yield hive
    hive.close()


def send(hive, case, *left_out):
    """Send a request and check the answer. No poll waits; without a limit it would be held for a moment all the same."""
    if case.path.endswith("/poll"):
        case.query["waitTimeout"] = "0"
        if str(case.query.get("limit")) == "0":
            case.query["limit"] = 1
    headers = {"Authorization": f"Bearer {hive.token(case)}"}
    return case.call_and_validate(
        base_url=hive.address, session=hive.session, headers=headers, timeout=SECONDS, excluded_checks=list(left_out)
    )


@USUAL.parametrize()
def test_what_is_described_succeeds(case, hive):
    hive.furnish(case)
    answer = send(hive, case)
    assert answer.status_code < 300, answer.text


@ANY.parametrize()
def test_anything_is_answered_as_described(case, hive):
    if not case.meta.is_negative_at(ParameterLocation.PATH):
        hive.furnish_path(case)
    # A network or device type that does not exist is refused like a wrong value; the requests above name what there is.
    send(hive, case, ACCEPTANCE, *([REFUSAL] if is_understood(case) else []))


def is_understood(case):
    """Whether a request is taken though it is not as described: another type, an empty text, which is none, or an order of messages."""
    scenario = coverage_scenario(case)
    values = [*case.query.values(), *(case.body.values() if isinstance(case.body, dict) else ())]
    orders_messages = case.path.endswith(("/command", "/notification")) and scenario is CoverageScenario.INVALID_ENUM_VALUE
    return scenario is CoverageScenario.INCORRECT_TYPE or "" in values or orders_messages
