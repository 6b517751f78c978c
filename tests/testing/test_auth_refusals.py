"""The suite refuses auth providers that break the contract, with a sentence that says what is wrong, and takes the sound one."""

import pytest

from tests.support.contracts.refusals import run_suite

AWAY = "test_a_directory_that_is_away_says_nothing_of_the_password"
REFUSED = [
    ("RawAuth", AWAY, "login while the directory is away must raise AuthUnavailable, not ConnectionError('ldap.example does not answer')"),
    ("WrongPasswordAuth", AWAY, "login while the directory is away must raise AuthUnavailable, not InvalidCredentials("),
    ("NeverLogsIn", "test_the_right_password_gives_the_user", "login did not complete within 0.2 s"),
    ("RawLogin", "test_an_unknown_login_is_refused", "login with an unknown login must raise UnknownLogin, not KeyError('berta')"),
    ("LaxTokens", "test_a_changed_token_is_refused", "verify of a changed token must raise InvalidCredentials; it raised nothing"),
]
"""Contract class, test, and a part of what its author is told."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of every test that is named here."""
    tests = [f"{contract}::{test}" for contract, test, _ in REFUSED]
    sound = dict.fromkeys(f"SoundAuth::{test}" for _, test, _ in REFUSED)
    return run_suite("broken_auth", [*tests, *sound], tmp_path_factory.mktemp("suite"))


@pytest.mark.parametrize(("contract", "test", "sentence"), REFUSED, ids=[f"{contract}-{test}" for contract, test, _ in REFUSED])
def test_a_broken_auth_provider_is_refused_with_a_sentence(outcomes, contract, test, sentence):
    assert sentence in outcomes[f"{contract}::{test}"].failures


def test_the_sound_one_passes_all_that_the_broken_ones_fail(outcomes):
    assert {test: outcome.failures for test, outcome in outcomes.items() if test.startswith("Sound") and outcome.failures} == {}


@pytest.mark.slow
@pytest.mark.lowest
def test_one_that_asks_nothing_is_skipped_with_a_reason(outcomes):
    assert "lose_directory is not overridden" in outcomes[f"SoundAuth::{AWAY}"].skipped
