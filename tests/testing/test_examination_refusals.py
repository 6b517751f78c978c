"""The suite of examinable providers refuses those that break the contract with a sentence, and takes the sound one."""

import pytest

from tests.support.contracts.refusals import run_suite

pytestmark = pytest.mark.slow

BEFORE, DURING, AFTER = "test_before_the_first_start_nothing_is_made", "test_while_a_server_works", "test_after_a_server"

REFUSED = [
    ("MakesAFile", BEFORE, "examine must not make, change or remove a file"),
    ("Raises", BEFORE, "what is wrong must be a finding"),
    ("ReturnsText", BEFORE, "examine must return a model.Examination: Expected `object`, got `str`"),
    ("UnknownLevel", BEFORE, "examine must return a model.Examination: Invalid enum value 'fatal' - at `$.findings[0].level`"),
    ("ManyLines", BEFORE, "a finding must be one line"),
    ("AlwaysServed", BEFORE, "no server works on the data yet"),
    ("AlwaysServed", AFTER, "no server works on the data any more"),
    ("NeverServed", DURING, "is_served must be true, or None when the provider cannot know it"),
    ("InSecret", "test_says_that_it_can_be_examined", "a provider that has examine must declare it with implementer(IExaminableProvider)"),
    ("Relative", "test_says_where_the_data_are", "data_file must return an absolute path without symbolic links"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    tests = [f"{contract}::{test}" for contract, test, _ in REFUSED]
    sound = dict.fromkeys(f"Sound::{test}" for _, test, _ in REFUSED)
    return run_suite("broken_examinations", [*tests, *sound], tmp_path_factory.mktemp("suite"))


@pytest.mark.parametrize(("contract", "test", "sentence"), REFUSED, ids=[f"{contract}-{test}" for contract, test, _ in REFUSED])
def test_a_broken_provider_is_refused_with_a_sentence(outcomes, contract, test, sentence):
    assert sentence in outcomes[f"{contract}::{test}"].failures


def test_the_sound_provider_passes(outcomes):
    assert {test: outcome.failures for test, outcome in outcomes.items() if test.startswith("Sound") and outcome.failures} == {}
