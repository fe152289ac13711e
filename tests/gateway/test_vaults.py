"""Vaults lend what tenant and env name, and nothing that others could read, or that another tenant could reach."""

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interlock.errors import ConfigError, CredentialError
from interlock.vaults import Vaults
from interlock.vaults.env import EnvVault
from interlock.vaults.file import FileVault

SECRET = "s3cret-value-of-acme"
NAMES = st.text(alphabet="abAB01-_./ é", min_size=1, max_size=6)


def test_a_variable_is_found_by_tenant_and_env(monkeypatch):
    monkeypatch.setenv("ZENDESK_ACME_CORP_PROD", SECRET + "\n")
    vaults = Vaults({"zendesk": "env:ZENDESK_{TENANT}_{ENV}"})
    assert vaults.lend("zendesk", tenant="acme-corp", env="prod") == SECRET
    assert vaults.names == ("zendesk",)


def test_places_in_lower_case_stand_as_they_are():
    vault = EnvVault({"crm": "CRM_{tenant}_{env}"}, {"CRM_Acme_corp_prod": SECRET})
    assert vault.lend("crm", tenant="Acme_corp", env="prod") == SECRET


@pytest.mark.parametrize("value", [None, "", "  ", "\n"])
def test_an_unset_or_empty_variable_is_an_error_that_names_it(value):
    vault = EnvVault({"crm": "CRM_{TENANT}"}, {} if value is None else {"CRM_ACME": value})
    with pytest.raises(CredentialError, match="CRM_ACME is not set, or empty"):
        vault.lend("crm", tenant="acme", env="prod")


@pytest.mark.parametrize("tenant", ["a_b", "Acme", "a--b", "-a", "a-", "", "a b", "é", "a.b", "a\n"])
def test_a_tenant_without_an_upper_case_name_of_its_own_is_refused(tenant):
    with pytest.raises(CredentialError, match="tenant"):
        EnvVault({"crm": "CRM_{TENANT}"}, {"CRM_A_B": SECRET}).lend("crm", tenant=tenant, env="prod")


@pytest.mark.parametrize(
    ("make", "template"),
    [
        (EnvVault, "X_{TENANT}_{ENV}"),
        (EnvVault, "X_{ENV}_{TENANT}"),
        (EnvVault, "{TENANT}__{ENV}"),
        (EnvVault, "{tenant}_Y_{env}"),
        (EnvVault, "{TENANT}__{env}"),
        (EnvVault, "{env}__{tenant}"),
        (FileVault, "/s/{tenant}/{env}"),
        (FileVault, "/s/{ENV}/{TENANT}.key"),
    ],
)
@given(one=st.tuples(NAMES, NAMES), other=st.tuples(NAMES, NAMES))
def test_two_tenants_or_envs_never_come_to_the_same_name(make, template, one, other):
    assume(one != other)
    checked = make({"c": template})._templates["c"]
    try:
        first, second = (checked.filled("c", tenant=tenant, env=env) for tenant, env in (one, other))
    except CredentialError:
        return
    assert first != second


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"crm": "sk-live-1234567890"}, "never the secret itself"),
        ({"crm": "safe:x"}, "env:… or file:… or vault:…"),
        ({"crm": "env:CRM_{TENNANT}"}, r"there is no \{TENNANT\}"),
        ({"crm": "env:CRM_{TENANT}{ENV}"}, "between"),
        ({"crm": "env:CRM_{TENANT}_{tenant}"}, "once each"),
        ({"crm": "env:"}, "empty"),
        ({"crm": "env:CRM_{TENANT"}, "brace"),
        ({"crm": "file:secrets/{tenant}"}, "absolute path"),
        ({"crm": "file:/secrets/../{tenant}"}, "absolute path"),
        ({"crm": "file:/secrets/{tenant}-{env}"}, "between"),
    ],
)
def test_a_template_that_cannot_work_is_refused_when_the_config_is_read(credentials, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Vaults(credentials)
    assert "sk-live" not in str(caught.value)


def test_a_name_that_is_not_there_is_an_error_with_the_nearest():
    with pytest.raises(CredentialError, match="did you mean 'zendesk'"):
        Vaults({"zendesk": "env:Z"}).lend("zendsk", tenant="acme", env="prod")


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "acme").mkdir(mode=0o700)
    path = tmp_path / "acme" / "prod"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def vault(tmp_path):
    return FileVault({"crm": f"{tmp_path}/{{tenant}}/{{env}}"})


def test_a_file_is_lent_without_its_last_newline(kept, vault):
    assert vault.lend("crm", tenant="acme", env="prod") == SECRET


def test_a_key_of_many_lines_is_lent_whole(kept, vault):
    kept.write_text("-----BEGIN KEY-----\nabc\n-----END KEY-----\n")
    assert vault.lend("crm", tenant="acme", env="prod").count("\n") == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_file_that_others_may_read_lends_nothing(kept, vault, mode):
    kept.chmod(mode)
    refused(vault, "can be read by others")


def test_a_file_in_a_directory_that_others_may_write_to_lends_nothing(kept, vault):
    kept.parent.chmod(0o777)
    refused(vault, "directory that others can write to")


def test_what_is_missing_empty_too_large_or_not_text_lends_nothing(kept, vault):
    for content, said in (
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a" * 65_537, "larger than"),
        (b"\xff" * 9, "UTF-8"),
    ):
        kept.write_bytes(content)
        refused(vault, said)
    kept.unlink()
    refused(vault, "No such file")
    kept.mkdir()
    refused(vault, "is not a file")
    kept.rmdir()
    os.mkfifo(kept, 0o600)
    refused(vault, "is not a file")


@pytest.mark.parametrize("tenant", ["..", ".", "a/b", "../acme", "", "a\x00b", "a\nb", "a\\b"])
def test_a_tenant_that_would_leave_its_place_is_refused(kept, vault, tenant):
    with pytest.raises(CredentialError, match="cannot be part of a name"):
        vault.lend("crm", tenant=tenant, env="prod")


def test_a_link_as_kubernetes_makes_it_is_followed(kept, vault, tmp_path):
    (tmp_path / "acme" / "..2026").mkdir(mode=0o700)
    kept.rename(tmp_path / "acme" / "..2026" / "prod")
    (tmp_path / "acme" / "..data").symlink_to("..2026")
    kept.symlink_to("..data/prod")
    assert vault.lend("crm", tenant="acme", env="prod") == SECRET


def test_a_link_to_another_tenant_or_another_file_lends_nothing(kept, vault, tmp_path):
    (tmp_path / "globex").symlink_to("acme")
    refused(vault, "symbolic link", tenant="globex")
    (tmp_path / "initech").mkdir(mode=0o700)
    (tmp_path / "initech" / "prod").symlink_to("../acme/prod")
    refused(vault, "symbolic link", tenant="initech")
    (tmp_path / "acme" / "staging").symlink_to("prod")
    refused(vault, "symbolic link", env="staging")


def test_the_operators_own_directory_may_be_a_link(kept, tmp_path_factory, tmp_path):
    elsewhere = tmp_path_factory.mktemp("links") / "secrets"
    elsewhere.symlink_to(tmp_path)
    assert FileVault({"crm": f"{elsewhere}/{{tenant}}/{{env}}"}).lend("crm", tenant="acme", env="prod") == SECRET


def refused(vault, said, tenant="acme", env="prod"):
    with pytest.raises(CredentialError, match=said) as caught:
        vault.lend("crm", tenant=tenant, env=env)
    assert SECRET not in str(caught.value)
    assert f"/{tenant}/{env}" in str(caught.value)
